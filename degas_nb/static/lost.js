// Tells once when nobody is behind a widget any more: its kernel was restarted or shut down, or it was restored from a file.
const LOST = 'The kernel of this cell was restarted or shut down, so nothing moves here any more: run the cell again.';

function whenLost(model, then) {
  let told = false;
  const lost = () => { if (!told) { told = true; then(); } };
  const manager = model.widget_manager, kernel = manager?.kernel;
  const look = (_, status) => { if (status === 'dead' || status === 'terminating') lost(); };
  model.on('comm_live_update', lost);                       // said by JupyterLab when the kernel restarts
  kernel?.statusChanged?.connect(look);
  kernel?.disposed?.connect(lost);
  if (model.get('me')) manager?.get_model?.(model.get('me'))?.then(raw => { if (raw.comm_live === false) lost(); }, () => {});
  return () => {
    model.off('comm_live_update', lost);
    kernel?.statusChanged?.disconnect(look);
    kernel?.disposed?.disconnect(lost);
  };
}
