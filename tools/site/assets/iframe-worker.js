// The search runs in a worker, and browsers start no worker from a page that was opened as a file. There, a hidden frame
// does the worker's work: the same messages in, the same messages out. Over HTTP nothing changes.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    onmessage = null;

    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const page = this.frame.contentWindow;
      page.answer = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      page.document.write(
        "<body><script>var receive = window.postMessage.bind(window); window.postMessage = (data) => answer(data)</" + "script>" +
          `<script src="${url}"></` + "script></body>",
      );
      page.document.close();
      this.ready = new Promise((done) => this.frame.addEventListener("load", done, { once: true }));
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.receive(data, "*"));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
