for (const box of document.querySelectorAll("[data-scrub]")) {
  const shots = [...box.querySelectorAll("figure")];
  if (shots.length < 2) continue;
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: shots.length - 1, value: shots.length - 1 });
  slider.setAttribute("aria-label", "Pictures over training, the oldest on the left");
  const show = () => shots.forEach((shot, i) => (shot.hidden = i !== Number(slider.value)));
  slider.addEventListener("input", show);
  box.classList.add("scrubbed");
  box.append(slider);
  show();
}
