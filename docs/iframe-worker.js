// Where the site is opened as files, a browser starts no worker; the theme's search runs in a hidden frame instead.
// The theme would fetch the like of this from a network that may not be there.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.inner = frame.contentWindow
      const load = (source) =>
        new Promise((resolve, reject) => {
          const script = this.inner.document.createElement("script")
          Object.assign(script, { src: source, onload: resolve, onerror: reject })
          this.inner.document.head.append(script)
        })
      this.inner.importScripts = (...sources) =>
        sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve())
      // What the search says to who started it.
      this.inner.postMessage = (data) => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        this.onmessage?.(event)
      }
      this.ready = load(url)
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.inner.frameElement.remove()
    }
  }
}
