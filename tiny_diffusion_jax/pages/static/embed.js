// A whole page inside this one, in a frame, so that neither disturbs the other.

function startLive() {
  const button = document.getElementById("live-start");
  button?.addEventListener("click", () => {
    const frame = document.createElement("iframe");
    frame.title = "The model, sampled live";
    frame.className = "live-frame";
    frame.srcdoc = JSON.parse(document.getElementById("live-page").textContent);
    document.getElementById("live-frame").replaceChildren(frame);
    button.hidden = true;
  });
}
