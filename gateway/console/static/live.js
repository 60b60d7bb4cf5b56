// Replaces the entries of a board every two seconds while the page is in view, until its reader pauses it. Loads a page
// again that shows how far long work is.
"use strict";
if (document.getElementById("reading")) setTimeout(() => location.reload(), 1000);
const button = document.getElementById("live");
const entries = document.getElementById("entries");
if (button && entries) {
  const every = 2000;
  let running = true;
  const look = async () => {
    if (running && document.visibilityState === "visible") {
      try {
        const answer = await fetch(button.dataset.entries, { credentials: "same-origin" });
        if (answer.ok) entries.innerHTML = await answer.text();
        button.textContent = answer.ok ? "Pause" : "Pause (the gateway refuses: " + answer.status + ")";
      } catch {
        button.textContent = "Pause (the gateway does not answer)";
      }
    }
    setTimeout(look, every);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    running = !running;
    button.textContent = running ? "Pause" : "Continue";
  });
  setTimeout(look, every);
}
