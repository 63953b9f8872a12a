"""What keeps something on the Hugging Face hub from being had, in one sentence."""

from __future__ import annotations

from ropewalk.errors import PassingError, UserError


def _names(error: BaseException | None) -> set[str]:
    """Names of an error's class and bases, and of those that it came from: libraries wrap what the client raised."""
    if error is None:
        return set()
    return {one.__name__ for one in type(error).__mro__} | _names(error.__cause__ or error.__context__)


def refusal(place: str, error: Exception, what: str) -> UserError | None:
    """The sentence for what the hub, or its absence, said; None where it is another error.

    Args:
        place: what was asked for, as ``model hub:ORGANISATION/NAME``; the sentence begins with it.
        error: what the hub's client, or a library that calls it, raised.
        what: ``model`` or ``data set``.
    """
    names = _names(error)
    if "GatedRepoError" in names:
        return UserError(
            f"{place} is gated: accept its terms on its page on the Hugging Face hub, and set HF_TOKEN to a token of "
            "yours that may read it."
        )
    if "RevisionNotFoundError" in names:
        return UserError(f"{place}: there is no such revision on the Hugging Face hub.")
    if "RepositoryNotFoundError" in names:
        return UserError(
            f"{place}: there is no such {what} on the Hugging Face hub, or it is private and HF_TOKEN does not open it."
        )
    if "RemoteEntryNotFoundError" in names:
        return UserError(f"{place}: there is no such file on the Hugging Face hub.")
    if names & {
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "RevisionResolutionError",
        "ConnectionError",
        "TransportError",
    }:
        return PassingError(
            f"{place} is not kept on this machine, and the Hugging Face hub cannot be reached or asked (offline); "
            "check the network, or bring it beforehand with `snakemake prefetch` where there is one."
        )
    if "HfHubHTTPError" in names:  # the hub is there, and not well
        return PassingError(
            f"{place} cannot be had from the Hugging Face hub at present ({str(error).splitlines()[0]})."
        )
    return None
