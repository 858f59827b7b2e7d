// What the page of `degas dashboard` does itself: it follows the system's dark mode, says goodbye to its kernel, and says when it has been left alone.
'use strict';
(() => {
  // What Voila calls: it is at work, it has begun a cell, all are done. The cells are shown as soon as the theme is there, too.
  window.voila_heartbeat = window.voila_process = window.update_loading_text = () => {};
  window.voila_finish = window.display_cells = () => {
    if (!window.themeLoaded) { window.cellLoaded = true; return; }
    document.getElementById('loading')?.remove();
    const cells = document.getElementById('rendered_cells');
    if (cells) cells.style.display = '';
  };

  // Remarks of Voila to its developers: parts of another version than it was built with (they work), a kernel that starts, a cell that takes its time.
  const remark = /^(Unsatisfied version|No satisfying version|Starting WebSocket|Ok, voila is still executing)/;
  for (const name of ['warn', 'log', 'info', 'debug']) {
    const say = console[name].bind(console);
    console[name] = (...words) => { if (!remark.test(words[0])) say(...words); };
  }

  const base = document.body.dataset.baseUrl.replace(/voila\/$/, '');
  const kernel = () => JSON.parse(document.getElementById('jupyter-config-data')?.textContent || '{}').kernelId;

  // Dark when the system is, also when it changes its mind: live.css and the plots read it from the body.
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const follow = () => Object.assign(document.body.dataset, {jpThemeLight: String(!dark.matches), jpThemeName: dark.matches ? 'JupyterLab Dark' : 'JupyterLab Light'});
  dark.addEventListener('change', follow);
  follow();

  // One goodbye, from the moment on that there is a kernel; Voila's own comes only from a page that is complete.
  let leaving = false;
  addEventListener('beforeunload', event => event.stopImmediatePropagation());
  addEventListener('pagehide', () => {
    leaving = true;
    const form = new FormData();
    form.append('_xsrf', document.cookie.match(/\b_xsrf=([^;]*)/)?.[1] || '');
    if (kernel()) navigator.sendBeacon(`${base}voila/api/shutdown/${kernel()}`, form);
  });
  addEventListener('pageshow', event => event.persisted && location.reload());

  // Is the kernel there, is the server there? Two looks in vain, and the reader is told.
  const lost = document.getElementById('dg-lost'), script = document.currentScript.src;
  const say = words => { lost.hidden = !words; if (lost.textContent !== words) lost.textContent = words; };
  let vain = 0;
  const look = async () => {
    const answer = await fetch(kernel() ? `${base}api/kernels/${kernel()}` : script, {cache: 'no-store', signal: AbortSignal.timeout(5000)}).catch(() => null);
    if (leaving) return;
    vain = answer?.ok ? 0 : vain + 1;
    if (vain < 2) say('');
    else if (answer?.status === 404) say('The process behind this page has ended, so it stands still. Reload it for a new one.');
    else say('The dashboard does not answer any more: most likely it was closed in its shell. The page shows what it knew last. Start degas dashboard again for a new address.');
    setTimeout(look, vain < 2 ? 2000 : 20000);
  };
  setTimeout(look, 2000);
})();
