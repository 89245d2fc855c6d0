// What is asked for only while it is open: the log, and how programs are set up.

// ---- the log

const logMost = 500;
let logAfter = 0, logList = [], logAsking = false;

const grave = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };

function level(line) { return grave[line.level.split(/[+-]/)[0]]; }

async function tail() {
  if (!$('log-box').open || logAsking) return;
  logAsking = true;
  try {
    const answer = await ask('/api/log?after=' + logAfter);
    if (!answer.ok) return;
    const got = await answer.json();
    if (got.last < logAfter) logList = []; // it is another relaymux than before
    logAfter = got.last;
    if (!got.lines.length && $('log').childElementCount) return;
    logList = logList.concat(got.lines).slice(-logMost);
    showLog();
  } catch (e) { // the state says that nobody answers
  } finally {
    logAsking = false;
  }
}

function showLog() {
  const log = $('log'), least = grave[$('log-level').value];
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  const list = logList.filter((l) => level(l) >= least);
  rows(log, list, (l) => l.number, (l) => {
    const e = make('li'), kind = level(l);
    e.append(make('span', new Date(l.time).toLocaleTimeString('en-GB') + ' ', 'dim'),
      make('strong', l.level + ' ', kind >= 3 ? 'bad' : kind === 2 ? 'slow' : 'dim'),
      make('bdi', l.message), make('bdi', l.attrs ? ' ' + l.attrs : '', 'dim'));
    return e;
  }, () => {});
  const lost = logList.length ? logList[0].number - 1 : 0;
  write($('log-note'), list.length ? (lost ? say('log.lost', { n: lost }) : '') : say('log.none'));
  if (follows) log.scrollTop = log.scrollHeight;
}

// ---- how programs are set up

let setup = null;

async function askSetup() {
  if (!$('setup-box').open) return;
  try {
    const answer = await ask('/api/setup');
    if (answer.ok) showSetup(setup = await answer.json());
  } catch (e) { // likewise
  }
}

function hint(h) {
  const text = h.text || say('setup.' + h.code + '.text', { host: h.host, port: h.port });
  const dd = make('dd'), shown = make(h.text ? 'code' : 'p', text), copy = make('button', say('setup.copy'));
  copy.type = 'button';
  copy.setAttribute('aria-label', say('setup.copy') + ': ' + say('setup.' + h.code));
  copy.addEventListener('click', () => navigator.clipboard.writeText(text).then(() => { copy.textContent = say('setup.copied'); }, () => {
    getSelection().selectAllChildren(shown); // not over http from elsewhere: then it is copied by hand
  }));
  shown.dir = h.text ? 'ltr' : texts.dir;
  dd.append(shown, copy);
  if (h.open && h.open.startsWith('tg:')) {
    const a = make('a', say('setup.open'));
    a.href = h.open;
    dd.append(a);
  }
  return [make('dt', say('setup.' + h.code)), dd];
}

function showSetup(s) {
  $('password').hidden = !s.password;
  $('setup').replaceChildren(...s.near.flatMap(hint));
  $('far').replaceChildren(...s.far.flatMap(hint));
  $('far-none').hidden = s.far.length > 0;
  $('qr').hidden = !s.link;
  if (!s.link) return;
  const svg = $('qr').querySelector('svg');
  plotCode(svg, s.link.rows);
  svg.setAttribute('aria-label', say('setup.qr.label', { text: s.link.text }));
  write($('qr').querySelector('figcaption'), say('setup.qr', s.far[0]));
}
