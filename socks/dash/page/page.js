// Asks for the state once a second and shows it. Whatever comes from there is put into
// the page by textContent alone.

const every = 1000, keepToken = 'relaymux.token', recentMost = 20;
let token = boot.token, paused = false, wait = 0, latest = null;
const rate = new Meter(), meters = new Map(); // by deployment

function showState(s) {
  const l = s.link;
  write($('state'), say(l.pipe ? 'state.pipe' : 'state.' + l.state));
  $('state').className = l.state === 'up' || l.state === 'none' ? 'good' : 'bad';
}

function showWhy(s) {
  const list = s.advice.length ? s.advice : [{ code: '', level: 'good' }];
  rows($('why'), list, (a) => a.code + ' ' + JSON.stringify([a.args && a.args.deployment, a.args && a.args.account]),
    () => make('li'), (e, a) => {
      e.className = a.level;
      write(e, a.code ? say('advice.' + a.code, a.args) : say('why.fine'));
    });
}

function showRate(s) {
  const t = s.totals;
  const [down, up] = rate.last(2), most = rate.most(1);
  const now = say('rate.now', { down: bytes(down), up: bytes(up) });
  write($('rate'), now);
  write($('rate-most'), say('rate.most', { most: bytes(most) }));
  write($('totals'), say('totals', { down: bytes(t.down_bytes), up: bytes(t.up_bytes), exchanges: t.exchanges, uptime: s.uptime_s }));
  const q = s.quic;
  write($('trains'), q.sent.trains ? say('trains', { sent: q.sent.mean, received: q.received.mean }) : '');
  $('graph').setAttribute('aria-label', say('rate.label', { now: now }));
  plot($('graph'), rate.samples, most);
}

// sample notes what the graphs are of.
function sample(s) {
  const now = Date.parse(s.time);
  rate.again(now, [s.totals.down_bytes, s.totals.up_bytes]);
  for (const d of s.deployments) {
    let failed = 0;
    for (const [label, n] of Object.entries(d.exchanges)) if (label !== 'ok' && label !== 'cancelled') failed += n;
    if (!meters.has(d.name)) meters.set(d.name, new Meter());
    meters.get(d.name).again(now, [d.exchanges.ok || 0, failed]);
  }
}

function showDeployments(s) {
  rows($('deployments'), s.deployments, (d) => d.name, () => {
    const e = make('li'), name = make('strong');
    name.dir = 'auto';
    e.append(name, make('div'), graph(['good', 'bad']), make('p', '', 'dim'));
    return e;
  }, (e, d) => {
    const [name, about, svg, now] = e.children, m = meters.get(d.name);
    write(name, d.name);
    const text = [];
    if (d.rest) text.push([say('deployment.rest', { seconds: until(d.rest.until, s.time), why: d.rest.why }), 'bad']);
    else if (d.state === 'failing') text.push([say('deployment.failing', { said: d.last_failure }), 'bad']);
    else text.push([[say(d.pipe ? 'deployment.pipe' : d.state === 'untried' ? 'deployment.untried' : 'deployment.works'), say('deployment.flight', { n: d.in_flight })]
      .concat(d.http ? say('deployment.http', d) : []).join(comma()), d.state === 'untried' ? 'dim' : 'good']);
    text.push([d.latency ? say('deployment.latency', { p50: Math.round(d.latency.p50_ms), p95: Math.round(d.latency.p95_ms) }) : say('deployment.unmeasured')]);
    text.push([Object.entries(d.exchanges).map((o) => outcome(o[0]) + ' ' + word(o[1])).join(comma()), 'dim']);
    if (d.last_failure && d.state !== 'failing') text.push([say('deployment.last', { said: d.last_failure }), 'dim']);
    lines(about, text);
    const [ok, failed] = m.last(2);
    write(now, say('deployment.rate', { ok: ok, failed: failed }));
    svg.setAttribute('aria-label', say('deployment.graph', { name: d.name, ok: ok, failed: failed }));
    plot(svg, m.samples, m.most(1));
  });
}

function comma() { return texts.dir === 'rtl' ? '، ' : ', '; }

function showAccounts(s) {
  rows($('accounts'), s.accounts, (a) => a.name, () => {
    const e = make('li'), quota = make('meter'), name = make('strong');
    quota.min = 0;
    name.dir = 'auto';
    e.append(name, make('p'), quota, graph(['good', 'dash']), make('p', '', 'dim'));
    return e;
  }, (e, a) => {
    const [name, used, quota, svg, more] = e.children;
    write(name, a.name);
    write(used, a.quota ? say('account.quota', a) : say('account.noquota', a));
    quota.hidden = !a.quota;
    svg.toggleAttribute('hidden', !a.quota);
    if (a.quota) {
      quota.max = a.quota;
      quota.high = a.quota * 0.8;
      quota.optimum = 0;
      quota.value = a.used;
      quota.setAttribute('aria-label', used.textContent);
      plotQuota(svg, a, s.time);
      svg.setAttribute('aria-label', say('account.graph', a));
    }
    const rest = [say('account.slots', { used: a.in_flight, slots: a.slots })];
    if (a.quota && a.resets) rest.push(say('account.resets', { seconds: until(a.resets, s.time) }));
    if (a.quota) rest.push(say('account.lasts', { lasts: a.lasts_s }));
    write(more, rest.join(comma()));
  });
}

function showRecent(s) {
  const all = $('recent-all').checked;
  const list = s.recent.filter((x) => all || x.kind !== 'poll').slice(0, recentMost);
  const most = Math.max(1, ...list.map((x) => x.queued_ms + x.took_ms));
  write($('recent-note'), list.length ? say('recent.scale', { most: millis(most) }) + (s.link.pipe ? ' ' + say('recent.pipe') : '')
    : say(s.link.pipe ? 'recent.pipe' : 'recent.none'));
  rows($('recent'), list, (x) => x.deployment + ' ' + x.began + ' ' + x.took_ms, (x) => {
    const e = make('tr'), what = make('td'), bar = make('td');
    bar.append(draw('svg', { class: 'bar', viewBox: '0 0 1000 10', preserveAspectRatio: 'none', role: 'img' }));
    e.append(what, bar, make('td', '', 'n'));
    return e;
  }, (e, x) => {
    const [what, bar, took] = e.children, ok = x.outcome === 'ok';
    what.className = ok ? '' : 'bad';
    write(what, [word(x.deployment), say('kind.' + x.kind)].concat(ok ? [] : outcome(x.outcome)).join(comma()));
    write(took, millis(x.took_ms));
    plotParts(bar.firstElementChild, x, most);
  });
}

const columns = ['host', 'network', 'dial', 'age', 'up', 'down', 'exchanges'];

function flowRow(f) {
  const e = make('tr');
  for (const c of columns) {
    const cell = make('td', undefined, columns.indexOf(c) > 1 ? 'n' : '');
    cell.dataset.name = say('flow.' + c);
    cell.append(make('bdi'));
    e.append(cell);
  }
  const last = make('td'), close = make('button', say('flow.close'));
  close.type = 'button';
  close.setAttribute('aria-label', say('flow.closing', { host: f.host }));
  close.addEventListener('click', () => end(f.id, close));
  last.append(close);
  e.append(last);
  return e;
}

function showFlows(s) {
  const sought = $('filter').value.trim().toLowerCase();
  const list = s.flows.filter((f) => (f.host + ':' + f.port).toLowerCase().includes(sought));
  write($('flows-count'), word(s.flows.length + s.flows_more));
  rows($('rows'), list, (f) => f.id, flowRow, (e, f) => {
    const host = f.host.includes(':') ? '[' + f.host + ']' : f.host;
    [host + ':' + f.port, isolate(f.network) + (f.connected ? '' : comma() + say('flow.connecting')), f.dial_ms ? millis(f.dial_ms) : '',
      span(f.age_s), bytes(f.up_bytes), bytes(f.down_bytes), word(f.exchanges)]
      .forEach((text, i) => write(e.children[i].firstElementChild, text));
  });
  write($('more'), s.flows_more ? say('flows.more', { n: s.flows_more }) : list.length ? '' : say('flows.none'));
}

function show(s) {
  latest = s;
  $('login').hidden = true;
  $('content').hidden = $('pause').hidden = false;
  [showState, showWhy, showRate, showDeployments, showAccounts, showRecent, showFlows].forEach((part) => part(s));
}

// ---- asking

function ask(path, method) {
  const headers = token ? { Authorization: 'Bearer ' + token } : {};
  return fetch(path, { method: method || 'GET', headers: headers, cache: 'no-store', credentials: 'omit' });
}

function end(id, button) {
  button.disabled = true;
  ask('/api/flows/' + id + '/close', 'POST').then((answer) => {
    if (answer.status === 401) location.reload(); // it is another relaymux than that which sent this page
    else tick();
  }, () => { button.disabled = false; });
}

function login(wrong) {
  $('content').hidden = $('pause').hidden = true;
  $('login').hidden = false;
  write($('wrong'), wrong ? say('login.wrong') : '');
  $('token').focus();
}

async function tick() {
  clearTimeout(wait);
  if (paused || document.hidden) return;
  try {
    const answer = await ask('/api/status');
    if (answer.status === 401) {
      login(token !== '');
      token = '';
      sessionStorage.removeItem(keepToken);
      return;
    }
    const s = await answer.json();
    sample(s);
    show(s);
    tail();
  } catch (e) {
    write($('state'), say('state.gone'));
    $('state').className = 'bad';
  }
  clearTimeout(wait);
  wait = setTimeout(tick, every);
}

function pause() {
  paused = !paused;
  write($('pause'), say(paused ? 'resume' : 'pause'));
  $('pause').setAttribute('aria-pressed', String(paused));
  tick();
}

// change puts everything into another language.
function change(language) {
  speak(language);
  $('language').value = texts.lang;
  write($('pause'), say(paused ? 'resume' : 'pause'));
  $('legend').replaceChildren(...parts.map((p) => {
    const e = make('li', undefined, p);
    e.append(make('span', say('part.' + p)));
    return e;
  }));
  $('rows').replaceChildren(); // in which some texts stay
  if (latest) show(latest);
  if (logList.length) showLog();
  if (setup) showSetup(setup);
}

$('language').append(...boot.texts.map((t) => {
  const e = make('option', t['lang.name']);
  e.value = e.lang = t.lang;
  return e;
}));
$('language').addEventListener('change', () => {
  change($('language').value);
  try { localStorage.setItem(keepLanguage, texts.lang); } catch (e) { /* it may be forbidden */ }
});
$('pause').addEventListener('click', pause);
$('filter').addEventListener('input', () => latest && showFlows(latest));
$('recent-all').addEventListener('change', () => latest && showRecent(latest));
$('log-level').addEventListener('change', showLog);
$('log-box').addEventListener('toggle', tail);
$('setup-box').addEventListener('toggle', askSetup);
$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value;
  $('token').value = '';
  sessionStorage.setItem(keepToken, token);
  tick();
});
document.addEventListener('visibilitychange', tick);
document.addEventListener('keydown', (event) => {
  if (['INPUT', 'SELECT'].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey || $('content').hidden) return;
  if (event.key === '/') {
    event.preventDefault();
    $('filter').focus();
  } else if (event.key === 'p') pause();
  else if (event.key === 'l') {
    $('log-box').open = !$('log-box').open;
    if ($('log-box').open) $('log').focus();
  }
});
let language = null;
try { language = localStorage.getItem(keepLanguage); } catch (e) { /* it may be forbidden */ }
change(language);
if (!token) token = sessionStorage.getItem(keepToken) || '';
tick();
