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
  show();                                                      // a browser may have kept what was chosen before
}
