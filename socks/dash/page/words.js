// Words and numbers, in the language of whoever reads.

const boot = JSON.parse(document.getElementById('boot').textContent);
const $ = (id) => document.getElementById(id);
const keepLanguage = 'relaymux.language';
let texts = boot.texts[0], digits = null;

// speak takes the table of that language, or of the first that the browser's owner
// reads, and puts it into the page.
function speak(wanted) {
  const known = (tag) => boot.texts.find((t) => t.lang === String(tag).toLowerCase().split('-')[0]);
  texts = known(wanted) || (navigator.languages || [navigator.language]).map(known).find(Boolean) || boot.texts[0];
  digits = new Intl.NumberFormat(texts.lang, { useGrouping: false, maximumFractionDigits: 1 });
  document.documentElement.lang = texts.lang;
  document.documentElement.dir = texts.dir;
  for (const e of document.querySelectorAll('[data-text]')) e.textContent = say(e.dataset.text);
  for (const e of document.querySelectorAll('[data-label]')) {
    e.setAttribute('aria-label', say(e.dataset.label));
    if (e.tagName === 'INPUT') e.placeholder = say(e.dataset.label);
  }
}

// say is the text of a key with the arguments in the places of their names in braces.
// {s:time} is a number of seconds as a person would tell it, {why:outcome} what has
// become of an exchange, and {port:code} is to be typed as it stands.
function say(key, args) {
  const text = texts[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)(:\w+)?\}/g, (whole, name, as) => {
    if (!args || args[name] === undefined) return whole;
    if (as === ':time') return span(Number(args[name]));
    if (as === ':outcome') return outcome(args[name]);
    return as === ':code' ? isolate(args[name]) : word(args[name]);
  });
}

// word is a number in the language's digits, or a text that is in no language.
function word(value) {
  return typeof value === 'number' || /^\d+$/.test(value) ? digits.format(value) : isolate(value);
}

// isolate keeps a text from turning the sentence around it (Unicode's FSI and PDI).
function isolate(value) { return texts.dir === 'rtl' ? '\u2068' + value + '\u2069' : String(value); }

function outcome(label) { return texts['outcome.' + label] || word(label); }

function span(s) {
  s = Math.max(0, Math.floor(s));
  if (s < 60) return say('unit.s', { n: s });
  if (s < 3600) return say('unit.min', { n: Math.floor(s / 60) });
  return say('unit.h', { h: Math.floor(s / 3600), min: Math.floor(s % 3600 / 60) });
}

function millis(ms) { return ms < 10000 ? say('unit.ms', { n: Math.round(ms) }) : span(ms / 1000); }

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return say('unit.' + units[i], { n: i === 0 || n >= 100 ? Math.round(n) : n });
}

// until is how many seconds there are from one time to another.
function until(time, now) { return (Date.parse(time) - Date.parse(now)) / 1000; }
