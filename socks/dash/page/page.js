'use strict';
// Asks for the state once a second and shows it. Whatever comes from there is put into
// the page by textContent alone.
(function () {
  const boot = JSON.parse(document.getElementById('boot').textContent);
  const $ = (id) => document.getElementById(id);
  const every = 1000, points = 120, keep = 'relaymux.token';
  let token = boot.token, paused = false, before = null, wait = 0;
  const rates = [];

  // ---- words

  function say(key, args) {
    const text = boot.texts[key];
    if (text === undefined) return key;
    return text.replace(/\{(\w+)(:time)?\}/g, (whole, name, time) => {
      if (!args || args[name] === undefined) return whole;
      return time ? span(Number(args[name])) : String(args[name]);
    });
  }

  function span(s) {
    s = Math.max(0, Math.floor(s));
    if (s < 60) return s + ' s';
    if (s < 3600) return Math.floor(s / 60) + ' min';
    return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  }

  function bytes(n) {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let i = 0;
    for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
    return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + units[i];
  }

  function until(time, now) { return (Date.parse(time) - Date.parse(now)) / 1000; }

  // ---- elements

  function make(name, text, kind) {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (kind) e.className = kind;
    return e;
  }

  function write(e, text) { if (e.textContent !== text) e.textContent = text; }

  function lines(parent, list) {
    parent.replaceChildren(...list.map((l) => make('p', l[0], l[1])));
  }

  // rows keeps one child of parent for each thing in list, so that whoever has the
  // focus keeps it.
  function rows(parent, list, key, create, update) {
    const old = new Map(Array.from(parent.children, (e) => [e.dataset.key, e]));
    let at = parent.firstElementChild;
    for (const thing of list) {
      const k = String(key(thing));
      let e = old.get(k);
      old.delete(k);
      if (!e) {
        e = create(thing);
        e.dataset.key = k;
      }
      if (e === at) at = at.nextElementSibling;
      else parent.insertBefore(e, at);
      update(e, thing);
    }
    for (const e of old.values()) e.remove();
  }

  // ---- the parts of the page

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
    const t = s.totals, now = Date.parse(s.time);
    if (before && now > before.at) {
      const took = (now - before.at) / 1000;
      rates.push([Math.max(0, t.down_bytes - before.down) / took, Math.max(0, t.up_bytes - before.up) / took]);
      if (rates.length > points) rates.shift();
    }
    before = { at: now, down: t.down_bytes, up: t.up_bytes };
    const last = rates[rates.length - 1] || [0, 0];
    write($('rate'), say('rate.now', { down: bytes(last[0]), up: bytes(last[1]) }));
    write($('totals'), say('totals', { down: bytes(t.down_bytes), up: bytes(t.up_bytes), exchanges: t.exchanges, uptime: s.uptime_s }));
    const q = s.quic;
    write($('trains'), q.sent.trains ? say('trains', { sent: q.sent.mean.toFixed(1), received: q.received.mean.toFixed(1) }) : '');
    const most = Math.max(1, ...rates.map((r) => Math.max(r[0], r[1])));
    ['graph-down', 'graph-up'].forEach((id, which) => {
      const from = points - rates.length;
      $(id).setAttribute('points', rates.map((r, i) => (from + i) + ',' + (39 - 38 * r[which] / most).toFixed(2)).join(' '));
    });
  }

  function showDeployments(s) {
    const list = s.deployments;
    rows($('deployments'), list, (d) => d.name, () => {
      const e = make('li');
      e.append(make('strong'), make('div'));
      return e;
    }, (e, d) => {
      write(e.children[0], d.name);
      const text = [];
      if (d.rest) text.push([say('deployment.rest', { seconds: until(d.rest.until, s.time), why: d.rest.why }), 'bad']);
      else text.push([say(d.pipe ? 'deployment.pipe' : 'deployment.works') + ', ' + say('deployment.flight', { n: d.in_flight }) +
        (d.http ? ', ' + say('deployment.http', d) : ''), 'good']);
      text.push([d.latency ? say('deployment.latency', { p50: Math.round(d.latency.p50_ms), p95: Math.round(d.latency.p95_ms) }) : say('deployment.unmeasured')]);
      text.push([Object.entries(d.exchanges).map((o) => o[0] + ' ' + o[1]).join(', '), 'dim']);
      if (d.last_failure) text.push([say('deployment.last', { said: d.last_failure }), 'dim']);
      lines(e.children[1], text);
    });
  }

  function showAccounts(s) {
    rows($('accounts'), s.accounts, (a) => a.name, () => {
      const e = make('li'), quota = make('meter');
      quota.min = 0;
      e.append(make('strong'), make('p'), quota, make('p', '', 'dim'));
      return e;
    }, (e, a) => {
      const [name, used, quota, more] = e.children;
      write(name, a.name);
      write(used, a.quota ? say('account.quota', a) : say('account.noquota', a));
      quota.hidden = !a.quota;
      if (a.quota) {
        quota.max = a.quota;
        quota.high = a.quota * 0.8;
        quota.optimum = 0;
        quota.value = a.used;
        quota.setAttribute('aria-label', used.textContent);
      }
      const rest = [say('account.slots', { used: a.in_flight, slots: a.slots })];
      if (a.quota && a.resets) rest.push(say('account.resets', { seconds: until(a.resets, s.time) }));
      if (a.quota) rest.push(say('account.lasts', { lasts: a.lasts_s }));
      write(more, rest.join(', '));
    });
  }

  const columns = ['host', 'network', 'age', 'up', 'down', 'exchanges'];

  function flowRow(f) {
    const e = make('tr');
    for (const c of columns) {
      const cell = make('td', '', columns.indexOf(c) > 1 ? 'n' : '');
      cell.dataset.name = say('flow.' + c);
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
    const word = $('filter').value.trim().toLowerCase();
    const list = s.flows.filter((f) => (f.host + ':' + f.port).toLowerCase().includes(word));
    write($('flows-count'), String(s.flows.length + s.flows_more));
    rows($('rows'), list, (f) => f.id, flowRow, (e, f) => {
      const host = f.host.includes(':') ? '[' + f.host + ']' : f.host;
      [host + ':' + f.port, f.network + (f.connected ? '' : ', ' + say('flow.connecting')), span(f.age_s), bytes(f.up_bytes), bytes(f.down_bytes), String(f.exchanges)]
        .forEach((text, i) => write(e.children[i], text));
    });
    write($('more'), s.flows_more ? say('flows.more', { n: s.flows_more }) : list.length ? '' : say('flows.none'));
  }

  function showSetup(s) {
    const at = s.proxy.listen[0];
    if (!at || $('setup').dataset.at === at) return;
    $('setup').dataset.at = at;
    $('password').hidden = !s.proxy.password;
    const cut = at.lastIndexOf(':'), host = at.slice(0, cut), port = at.slice(cut + 1);
    const hints = [
      ['setup.curl', 'curl -x socks5h://' + at + ' https://example.com/'],
      ['setup.chromium', 'chromium --proxy-server=socks5://' + at],
      ['setup.firefox', say('setup.firefox.text', { host: host, port: port })],
      ['setup.pac', location.origin + '/proxy.pac'],
      ['setup.shell', 'export ALL_PROXY=socks5h://' + at + ' http_proxy=http://' + at + ' https_proxy=http://' + at],
    ];
    $('setup').replaceChildren(...hints.flatMap((h) => {
      const dd = make('dd'), copy = make('button', say('setup.copy'));
      copy.type = 'button';
      copy.addEventListener('click', () => navigator.clipboard.writeText(h[1]).then(() => { copy.textContent = say('setup.copied'); }, () => {}));
      dd.append(make('code', h[1]), copy);
      return [make('dt', say(h[0])), dd];
    }));
  }

  let latest = null;
  function show(s) {
    latest = s;
    $('login').hidden = true;
    $('content').hidden = $('pause').hidden = false;
    [showState, showWhy, showRate, showDeployments, showAccounts, showFlows, showSetup].forEach((part) => part(s));
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
        sessionStorage.removeItem(keep);
        return;
      }
      show(await answer.json());
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

  for (const e of document.querySelectorAll('[data-text]')) e.textContent = say(e.dataset.text);
  for (const e of document.querySelectorAll('[data-label]')) {
    e.setAttribute('aria-label', say(e.dataset.label));
    e.placeholder = say(e.dataset.label);
  }
  $('graph').setAttribute('aria-label', say('rate.label'));
  $('pause').addEventListener('click', pause);
  $('filter').addEventListener('input', () => latest && showFlows(latest));
  $('login').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('token').value;
    $('token').value = '';
    sessionStorage.setItem(keep, token);
    tick();
  });
  document.addEventListener('visibilitychange', tick);
  document.addEventListener('keydown', (event) => {
    if (event.target.tagName === 'INPUT' || event.ctrlKey || event.metaKey || event.altKey || $('content').hidden) return;
    if (event.key === '/') {
      event.preventDefault();
      $('filter').focus();
    } else if (event.key === 'p') pause();
  });
  if (!token) token = sessionStorage.getItem(keep) || '';
  tick();
})();
