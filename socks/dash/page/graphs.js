// Elements, and what is drawn.

function make(name, text, kind) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (kind) e.className = kind;
  return e;
}

function draw(name, attributes) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
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

// graph is an empty one with a line for each of the classes.
function graph(classes) {
  const svg = draw('svg', { class: 'graph', viewBox: '0 0 120 40', preserveAspectRatio: 'none', role: 'img' });
  svg.append(...classes.map((c) => draw('polyline', { class: c })));
  return svg;
}

// plot draws the samples, each a list of a number for each line, the latest at the
// right, with most at the top.
const points = 120;
function plot(svg, samples, most) {
  const from = points - samples.length;
  Array.from(svg.querySelectorAll('polyline')).forEach((line, which) => {
    line.setAttribute('points', samples.map((r, i) => (from + i) + ',' + (39 - 38 * r[which] / most).toFixed(2)).join(' '));
  });
}

// A Meter turns counts since the start into numbers a second, for as long as the page
// is open: again gives it the counts of one moment.
class Meter {
  constructor() { this.samples = []; }
  again(now, counts) {
    if (this.counts && now > this.at) {
      const took = (now - this.at) / 1000;
      this.samples.push(counts.map((n, i) => Math.max(0, n - this.counts[i]) / took));
      if (this.samples.length > points) this.samples.shift();
    }
    this.at = now;
    this.counts = counts;
  }
  last(n) { return this.samples[this.samples.length - 1] || new Array(n).fill(0); }
  most(least) { return Math.max(least, ...this.samples.flat()); }
}

// plotQuota draws what is left of a day's quota, and how it goes on at this rate.
function plotQuota(svg, a, now) {
  const day = 86400, [past, next] = svg.querySelectorAll('polyline');
  const at = a.resets ? Math.min(1, Math.max(0, 1 - until(a.resets, now) / day)) : 0;
  const y = (left) => (39 - 38 * Math.max(0, left) / a.quota).toFixed(2);
  const x = (share) => (120 * share).toFixed(2);
  past.setAttribute('points', '0,' + y(a.quota) + ' ' + x(at) + ',' + y(a.left));
  const empty = a.per_hour > 0 ? at + a.left / a.per_hour * 3600 / day : Infinity;
  const end = Math.min(1, empty);
  next.setAttribute('points', x(at) + ',' + y(a.left) + ' ' + x(end) + ',' + y(empty < 1 ? 0 : a.left - a.per_hour * 24 * (1 - at)));
  next.setAttribute('class', empty < 1 ? 'dash bad' : 'dash');
}

// The parts of an exchange, in the order in which they are drawn.
const parts = ['queued', 'send', 'relay', 'dial', 'node', 'answer'];

// plotParts draws where the time of an exchange went, on a scale of most milliseconds.
function plotParts(svg, x, most) {
  let at = 0;
  const list = parts.map((p) => {
    const wide = 1000 * x[p + '_ms'] / most, e = draw('rect', { class: p, x: at.toFixed(1), y: 0, width: Math.max(0, wide).toFixed(1), height: 10 });
    at += wide;
    return e;
  });
  svg.replaceChildren(...list.filter((e) => e.getAttribute('width') !== '0.0'));
  svg.setAttribute('aria-label', parts.filter((p) => x[p + '_ms'] >= 0.5).map((p) => say('part.' + p) + ' ' + millis(x[p + '_ms'])).join(', '));
}

// plotCode draws a QR code: dark modules on light ones, whatever the page's colours,
// with a margin of four.
function plotCode(svg, code) {
  const side = code.length + 8;
  svg.setAttribute('viewBox', '0 0 ' + side + ' ' + side);
  svg.setAttribute('shape-rendering', 'crispEdges');
  svg.querySelector('path').setAttribute('d', code.flatMap((row, y) =>
    Array.from(row).map((module, x) => (module === '1' ? 'M' + (x + 4) + ' ' + (y + 4) + 'h1v1h-1z' : ''))).join(''));
}
