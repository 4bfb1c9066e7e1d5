{
  const figure = document.currentScript.closest("figure"), img = figure.querySelector("img");
  const { frames, texts } = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const controls = [...figure.querySelectorAll("input, select")];
  const show = () => {
    const at = controls.reduce((k, control, axis) => k * texts[axis].length + Number(control.value), 0);
    [img.src, img.alt] = frames[at];
    controls.forEach((control, axis) => {
      const text = texts[axis][control.value];
      control.setAttribute("aria-valuetext", text);            // a slider's number is only its place in the row
      if (control.type === "range") control.nextElementSibling.textContent = text;
    });
  };
  controls.forEach((control) => control.addEventListener("input", show));
  for (const button of figure.querySelectorAll("button")) {    // below its slider
    const slider = button.previousElementSibling.previousElementSibling.previousElementSibling, last = Number(slider.max);
    let timer = null;
    const pause = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const move = (value) => { slider.value = value; show(); };
    const next = () => { move(Number(slider.value) + 1); if (Number(slider.value) === last) pause(); };
    slider.addEventListener("input", pause);
    button.addEventListener("click", () => {
      if (timer) return pause();
      if (Number(slider.value) === last) move(0);              // at the end it begins anew
      timer = setInterval(next, 250);
      button.textContent = "Pause";
    });
  }
  show();                                                      // a browser may have kept what was chosen before
}
