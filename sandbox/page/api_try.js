// The page /api: the function's OpenAPI description, and requests made with it.

import { get, post } from './api.js';
import { curlLine } from './curl.js';
import { $, busy, h, setBadge, setText, show } from './dom.js';
import { fullTime, moment, pretty, randomText } from './format.js';
import { chooseLanguage, language, onLanguage, startLanguage, t } from './i18n.js';
import { Description } from './openapi.js';
import { Result } from './words.js';

const GATEWAY = '/v1/functions/pay-common?webfn=true';
const HEADERS = ['X-Request-Id', 'Retry-After', 'Content-Type', 'ETag'];
const HALF_AN_HOUR = 1800;
const DAY = 86400;
const loadResult = new Result($('load-result'));
const sendResult = new Result($('send-result'));
const copyResult = new Result($('copy-result'));

let description = null;
let info = null;
let callers = {};
let operation = null;
let answer = null; // {operation, request, reply}, of what was sent last
const numbers = {}; // what later requests go on with: the last order's number, and so on
let clockAhead = 0; // seconds of virtual time before the wall clock

// The sandbox and the description

/** The function may be another one by now, the clock moved on, and a token ended. */
async function look() {
  [info, callers] = await Promise.all([get('state'), get('callers')]);
  clockAhead = (moment(info.now) - Date.now()) / 1000;
  setText($('function-url'), info.function);
}

async function load() {
  loadResult.clear();
  const fine = await loadResult.around(async () => {
    await look();
    $('key').value ||= callers.operatorKey['x-operator-key'];
    description = read(await post('send', { method: 'GET', path: '/openapi.json' }));
  });
  show($('again'), !fine || description === null);
  show($('loading'), description === null);
  show($('try'), description !== null);
  if (description) {
    renderOperations();
    follow();
  }
}

/** The description, or null: then the page says what came instead. */
function read(reply) {
  const url = info.function;
  if (reply.status === null || reply.error) {
    loadResult.say('bad', 'api.notRunning', { url });
    return null;
  }
  if (reply.status !== 200) {
    loadResult.say('bad', 'api.noDescription', { url, status: reply.status });
    return null;
  }
  try {
    return new Description(JSON.parse(reply.body));
  } catch {
    loadResult.say('bad', 'api.strangeDescription', { url });
    return null;
  }
}

// The list

const hash = (id) => `#${encodeURIComponent(id)}`;

function renderOperations() {
  const row = ({ id, summary, path }) => {
    const link = h('a', { href: hash(id), 'data-operation': id }, summary, h('span', { class: 'mono break' }, path));
    return h('li', {}, link);
  };
  const section = ({ name, description: about, operations }) =>
    h(
      'section',
      {},
      h('h3', {}, name),
      h('p', { class: 'quiet' }, ...linked(about ?? '')),
      h('ul', { class: 'plain' }, ...operations.map(row)),
    );
  $('operations').replaceChildren(...description.tags().map(section));
}

/** The operation that the address names, or the first. */
function follow() {
  let wanted = '';
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch {
    // Not an address that this page made.
  }
  choose(description.find(wanted) ?? description.operations[0]);
}

function choose(chosen) {
  operation = chosen;
  answer = null;
  sendResult.clear();
  for (const link of $('operations').querySelectorAll('a')) {
    const current = link.dataset.operation === operation.id;
    current ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
  }
  const offered = ['', ...(operation.security.length ? Object.keys(callers) : [])];
  const first = operation.security.find((way) => way in callers) ?? '';
  for (const radio of radios()) {
    show(radio.closest('label'), offered.includes(radio.value));
    radio.checked = radio.value === first;
  }
  fill();
  renderOperation();
  renderAnswer();
}

// One operation

/** Texts and links: a number in brackets is a page of WeChat Pay's documents. */
function linked(text) {
  return text.split(/(\[\d{6,}\])/).map((part) => {
    const number = /^\[(\d+)\]$/.exec(part)?.[1];
    const pages = description.pages;
    return number && pages ? h('a', { href: pages + number, target: '_blank', rel: 'noreferrer' }, part) : part;
  });
}

function renderOperation() {
  setText($('title'), operation.summary);
  setText($('method'), operation.method);
  setText($('path'), operation.path);
  $('description').replaceChildren(...linked(operation.description));
  const hasBody = operation.method === 'POST';
  const rows = description.fields(operation.schema);
  const { field, names } = description.choice(operation.schema);
  const listed = names.join(', ');
  setText($('fields-choice'), listed && (field ? t('api.chosenBy', { field, listed }) : t('api.oneOf', { listed })));
  $('fields-about').replaceChildren(...linked(description.whole(operation.schema).description ?? ''));
  $('fields').replaceChildren(...rows.map(fieldRow));
  show($('fields-card'), hasBody && (rows.length > 0 || listed !== ''));
  show($('fields-scroll'), rows.length > 0);
  show($('editor'), hasBody);
  show($('fresh'), hasBody);
  renderRequest();
}

const range = (low, high) => (low === undefined ? `≤ ${high}` : high === undefined ? `≥ ${low}` : `${low}–${high}`);

const LIMITS = {
  characters: (limit) => t('api.characters', { limit }),
  items: (limit) => t('api.items', { limit }),
  value: (limit) => limit,
};

function fieldRow(field) {
  const limits = field.limits.map(([kind, low, high]) => LIMITS[kind](range(low, high)));
  const choices = field.choices.map((value) => JSON.stringify(value)).join(', ');
  const need = field.required ? h('span', { class: 'strong' }, t('api.required')) : t('api.optional');
  const pattern =
    field.pattern && h('details', {}, h('summary', {}, t('api.pattern')), h('code', { class: 'break' }, field.pattern));
  return h(
    'tr',
    {},
    h('td', {}, h('code', { class: 'break' }, field.path), h('br'), h('span', { class: 'quiet' }, need)),
    h('td', { class: 'quiet' }, ...[field.type, ...limits].flatMap((text) => [text, h('br')])),
    h(
      'td',
      {},
      field.description && h('p', { lang: 'en' }, ...linked(field.description)),
      choices && h('p', {}, h('code', { class: 'break' }, choices)),
      pattern,
    ),
  );
}

// The request

const radios = () => [...document.querySelectorAll('input[name=caller]')];
const caller = () => radios().find((radio) => radio.checked)?.value ?? '';

/** Fields whose number this operation makes: what its links go on with. */
const madeBy = ({ links }) =>
  new Set(links.flatMap(({ requestBody }) => Object.values(requestBody ?? {}).map((from) => from.split('#/')[1])));

const today = (seconds) => fullTime(Date.now() / 1000 + clockAhead + seconds);

/** The example with numbers that nobody has used, or those of the last order, and with times that are near. */
function fill() {
  const { example } = operation;
  const made = madeBy(description.find(example._action) ?? operation);
  const renewed = Object.entries(example).map(([name, value]) => {
    if (made.has(name)) {
      const prefix = /^[A-Z]*/.exec(value)[0];
      return [name, prefix + today(0).slice(0, 10).replaceAll('-', '') + randomText(8)];
    }
    return [name, numbers[name] ?? near(value)];
  });
  $('body').value = JSON.stringify(Object.fromEntries(renewed), null, 2);
}

function near(value) {
  if (/^\d{4}-\d\d-\d\dT/.test(value)) {
    return `${today(HALF_AN_HOUR).replace(' ', 'T')}+08:00`;
  }
  return /^\d{4}-\d\d-\d\d$/.test(value) ? today(-DAY).slice(0, 10) : value;
}

/** With the action in the body, where the gateway needs it. As text: numbers stay as they were written. */
function withAction(body) {
  const action = JSON.stringify(operation.id);
  return body.replace(/^\s*\{(\s*\})?/, (_, end) => `{"_action": ${action}${end ? '}' : ', '}`);
}

const isByBody = () => operation.path === '/';

function made() {
  const who = caller();
  const { method } = operation;
  const key = $('key').value.trim();
  const own = who === 'operatorKey' ? (key ? { 'x-operator-key': key } : {}) : (callers[who] ?? {});
  const gateway = who === 'accessToken';
  const type = method === 'POST' ? { 'Content-Type': 'application/json' } : {};
  const text = method === 'POST' ? $('body').value : '';
  return {
    gateway,
    method,
    path: gateway ? GATEWAY : operation.path,
    headers: { ...type, 'Accept-Language': document.documentElement.lang, ...own },
    body: gateway && !isByBody() ? withAction(text) : text,
  };
}

function renderRequest() {
  show($('key-field'), caller() === 'operatorKey');
  const request = made();
  const base = request.gateway ? info.url : info.function.replace(/\/+$/, '');
  setText($('curl'), curlLine({ ...request, url: base + request.path }));
  let trouble = '';
  if (request.method === 'POST') {
    try {
      JSON.parse($('body').value);
    } catch (error) {
      trouble = t('api.notJson', { message: error.message });
    }
  }
  setText($('body-hint'), trouble);
}

async function send() {
  copyResult.clear();
  await sendResult.around(async () => {
    const sentFrom = operation;
    await look();
    if (operation !== sentFrom) {
      return;
    }
    renderRequest();
    const request = made();
    const reply = await post('send', request);
    if (operation !== sentFrom) {
      return;
    }
    sendResult.clear();
    if (reply.status === null || reply.error) {
      answer = null;
      renderAnswer();
      sendResult.set('bad', () => `${t('answer.unreachable', { url: info.function })} ${reply.error ?? ''}`);
      return;
    }
    answer = { request, reply };
    remember();
    renderAnswer();
    $('answer-title').focus();
  });
}

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

function remember() {
  const sent = parsed(answer.request.body);
  if (answer.reply.status === 200 && sent) {
    const about = description.find(sent._action) ?? operation;
    madeBy(about).forEach((name) => (numbers[name] = sent[name]));
  }
}

// The answer

function renderAnswer() {
  show($('answer'), answer !== null);
  if (!answer) {
    return;
  }
  const { status, headers, body, latency } = answer.reply;
  const documented = description.response(operation, status);
  setBadge($('status'), documented ? (status < 400 ? 'good' : 'bad') : 'warn', String(status));
  $('status').classList.add('big');
  $('status').dataset.documented = String(documented !== null);
  setText($('time'), t('api.time', { count: Math.round(latency * 1000) }));
  const unknown = t('api.undocumented', { status });
  $('meaning').replaceChildren(...(documented ? linked(documented.description ?? '') : [unknown]));
  $('meaning').lang = documented ? 'en' : document.documentElement.lang;
  show($('by-gateway'), answer.request.gateway && typeof parsed(body)?.code === 'string');
  const shown = HEADERS.map((name) => [name, headers[name.toLowerCase()]]).filter(([, value]) => value !== undefined);
  $('headers').replaceChildren(
    ...shown.flatMap(([name, value]) => [h('dt', {}, name), h('dd', { class: 'mono break' }, value)]),
  );
  setText($('answer-body'), pretty(body));
  const next = status === 200 ? operation.links : [];
  const link = ({ operationId, description: about }) => h('a', { href: hash(operationId) }, about ?? operationId);
  $('next').replaceChildren(...next.map(link));
  show($('next-steps'), next.length > 0);
}

async function copy() {
  try {
    await navigator.clipboard.writeText($('curl').textContent);
    copyResult.say('good', 'api.copied');
  } catch {
    getSelection().selectAllChildren($('curl'));
    copyResult.say('warn', 'api.selected');
  }
}

function startLanguages() {
  const buttons = [...$('languages').querySelectorAll('button')];
  buttons.forEach((each) => each.addEventListener('click', () => chooseLanguage(each.dataset.language)));
  onLanguage(() => {
    buttons.forEach((each) => each.setAttribute('aria-pressed', String(each.dataset.language === language())));
    [loadResult, sendResult, copyResult].forEach((each) => each.render());
    if (operation) {
      renderOperation();
      renderAnswer();
    }
  });
}

startLanguages();
$('skip').addEventListener('click', (event) => {
  event.preventDefault(); // the address names the operation
  $('title').focus();
});
$('again').addEventListener('click', busy($('again'), load));
$('request').addEventListener('submit', busy($('send'), send));
$('request').addEventListener('input', () => {
  copyResult.clear();
  renderRequest();
});
$('fresh').addEventListener('click', () => {
  fill();
  renderRequest();
});
$('copy').addEventListener('click', busy($('copy'), copy));
addEventListener('hashchange', () => {
  if (description) {
    follow();
    $('title').focus();
  }
});
startLanguage();
load();
