// The slider of the alpha panels: a line moves through all of them, and each says who leads there. Without scripts the slider stays hidden.
for (const box of document.querySelectorAll('.alpha')) {
  const data = JSON.parse(box.querySelector('script[type="application/json"]').textContent);
  const slider = box.querySelector('.slider'), input = slider.querySelector('input'), output = slider.querySelector('output');
  const panels = [...box.querySelectorAll('.panel')];
  const show = () => {
    const at = +input.value;
    output.textContent = `step ${data.steps[at]}`;
    input.setAttribute('aria-valuetext', output.textContent);
    panels.forEach((panel, i) => {
      const cursor = panel.querySelector('.cursor'), x = data.x[at];
      cursor.setAttribute('x1', x);
      cursor.setAttribute('x2', x);
      cursor.style.visibility = 'visible';
      panel.querySelector('h3 span').textContent = data.leaders[i][at];
    });
  };
  slider.hidden = false;
  input.addEventListener('input', show);
}
