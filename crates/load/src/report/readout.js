// Shows the values under the pointer, or, with the keyboard, at a moment chosen by the arrow keys. The page is whole without it.
for (const plot of document.querySelectorAll(".plot")) {
  const data = JSON.parse(plot.closest("figure").querySelector("script").textContent);
  const cursor = plot.querySelector(".cursor"), readout = plot.querySelector(".readout");
  let place = 0;
  const number = (value) => value === null ? "–" : value.toLocaleString("en-US", { maximumFractionDigits: 3 });
  const clock = (s) => Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0");
  const show = (i) => {
    place = Math.max(0, Math.min(data.at.length - 1, i));
    const left = data.at[place] / data.until;
    cursor.style.left = left * 100 + "%";
    readout.replaceChildren(Object.assign(document.createElement("b"), { textContent: clock(data.at[place]) }));
    for (const series of data.series) {
      const row = document.createElement("div"), mark = document.createElement("i");
      mark.className = "c" + series.colour;
      const name = Object.assign(document.createElement("span"), { textContent: series.name });
      const value = Object.assign(document.createElement("span"), { textContent: number(series.values[place]) });
      row.append(mark, name, value);
      readout.append(row);
    }
    readout.style.left = left < 0.5 ? `calc(${left * 100}% + 10px)` : "auto";
    readout.style.right = left < 0.5 ? "auto" : `calc(${(1 - left) * 100}% + 10px)`;
    cursor.hidden = readout.hidden = false;
  };
  const hide = () => { cursor.hidden = readout.hidden = true; };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const seconds = (event.clientX - box.left) / box.width * data.until;
    let i = data.at.findIndex((at) => at > seconds);
    show(i < 0 ? data.at.length - 1 : i - 1);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(place); });
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") hide();
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(place + steps[event.key]);
  });
}
