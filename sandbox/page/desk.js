// The desk of whoever plays WeChat Pay: clock, faults, keys, merchant settings, reset.

import { get, post, remove } from './api.js';
import { $, KeyedList, badge, busy, h, setText, show } from './dom.js';
import { fullTime, shortTime, yuan } from './format.js';
import { language, onLanguage, said, t, word } from './i18n.js';
import { changed, onChange, setClock, setFaults, setInfo, state, virtualNow } from './store.js';
import { Result } from './words.js';

const STEPS = ['15s', '1m', '10m', '1h', '1d'];
const DURATION = /^(?:\d+(?:\.\d+)?[smhd])+$/;
const clockResult = new Result($('clock-result'));
const faultsResult = new Result($('faults-result'));
const expertResult = new Result($('expert-result'));
const TIMED = ['latency', 'slow_body', 'refuse'];
const CLOSED_SECONDS = 30;
const FACTS = [
  ...['url', 'backup_url', 'https_url', 'ca', 'sign_mode', 'key_mode', 'forward_path'],
  ...['merchant_id', 'app_id', 'service_app_id'],
];

// Clock

const advance = (step) =>
  clockResult.around(async () => {
    const clock = await post('clock', { advance: step });
    setClock(clock);
    const values = { time: fullTime(clock.now), count: clock.happened?.length ?? 0 };
    clockResult.say('good', 'clock.advanced', values);
  });

async function advanceBy() {
  const step = $('clock-by').value.normalize('NFKC').replaceAll(' ', '').toLowerCase();
  if (!DURATION.test(step)) {
    clockResult.say('bad', 'clock.bad');
    $('clock-by').focus();
    return;
  }
  await advance(step);
}

function makeSteps() {
  $('clock-steps').replaceChildren(
    ...STEPS.map((step) => {
      const named = { type: 'button', 'aria-label': t('clock.add', { step }), 'data-step': step };
      const made = h('button', named, `+${step}`);
      made.addEventListener('click', busy(made, () => advance(step)));
      return made;
    }),
  );
}

function renderNow() {
  const now = fullTime(virtualNow());
  setText($('clock-now'), state.info ? now : '');
  $('clock-now').dateTime = `${now.replace(' ', 'T')}+08:00`;
}

const pending = new KeyedList($('clock-pending'), (event) =>
  h(
    'li',
    {},
    h('time', { class: 'mono', title: fullTime(event.time) }, shortTime(event.time, virtualNow())),
    ' ',
    h('span', { class: 'break' }, said(event.what)),
  ),
);

function renderClock() {
  renderNow();
  $('clock-running').checked = Boolean(state.info?.running);
  setText($('clock-pending-title'), t('clock.pending', { count: state.pending.length }));
  pending.forget();
  pending.update(state.pending.map((event, index) => [index, event]));
  show($('clock-nothing'), state.pending.length === 0);
}

// Faults

async function addFault() {
  const kind = $('fault-kind').value;
  const times = $('fault-times').value.trim();
  const seconds = $('fault-seconds').value.trim();
  const path = $('fault-path').value.trim();
  const body = { kind, host: $('fault-host').value };
  if (times) {
    body.times = /^\d+$/.test(times) ? Number(times) : times;
  }
  if (path) {
    body.path = path;
  }
  if (TIMED.includes(kind) && (seconds || kind === 'refuse')) {
    body.seconds = seconds ? Number(seconds) : CLOSED_SECONDS;
  }
  if (kind === 'error') {
    body.code = $('fault-code').value.trim();
    const status = $('fault-status').value.trim();
    if (status) {
      body.status = Number(status);
    }
  }
  await faultsResult.around(async () => {
    await post('faults', body);
    setFaults(await get('faults'));
    faultsResult.set('good', () => t('faults.added', { kind: word('fault', kind) }));
  });
}

const clearFaults = () =>
  faultsResult.around(async () => {
    setFaults(await remove('faults'));
    faultsResult.say('good', 'faults.cleared');
  });

const dotted = (...parts) => parts.filter(Boolean).join(' · ');

const faults = new KeyedList($('faults'), (fault) =>
  h(
    'li',
    { class: 'headline' },
    h(
      'span',
      { class: 'grow' },
      h('span', { class: 'strong' }, dotted(word('fault', fault.kind), fault.code)),
      h('br'),
      h('span', { class: 'quiet mono break' }, dotted(word('host', fault.host), fault.path)),
    ),
    badge('warn', fault.times === null ? t('faults.always') : t('faults.times.left', { count: fault.times })),
  ),
);

let drawnKinds = '';

function renderFaults() {
  const print = language() + state.kinds.join();
  if (print !== drawnKinds) {
    drawnKinds = print;
    const chosen = $('fault-kind').value;
    $('fault-kind').replaceChildren(...state.kinds.map((kind) => h('option', { value: kind }, word('fault', kind))));
    if (state.kinds.includes(chosen)) {
      $('fault-kind').value = chosen;
    }
    renderFaultForm();
  }
  faults.update(state.faults.map((fault) => [fault.id, fault]));
  show($('faults-none'), state.faults.length === 0);
  show($('faults-clear'), state.faults.length > 0);
  show($('count-faults'), state.faults.length > 0);
  setText($('count-faults'), String(state.faults.length));
}

function renderFaultForm() {
  const kind = $('fault-kind').value;
  show($('fault-seconds-field'), TIMED.includes(kind));
  show($('fault-code-field'), kind === 'error');
  show($('fault-status-field'), kind === 'error');
  // A closed port counts no requests and sees no paths. The main one takes this page with it: never without an end.
  const refuses = kind === 'refuse';
  show($('fault-refuse-hint'), refuses);
  show($('fault-times-hint'), !refuses);
  if (refuses && !$('fault-seconds').value.trim()) {
    $('fault-seconds').value = String(CLOSED_SECONDS);
  }
  for (const field of [$('fault-times'), $('fault-path')]) {
    field.disabled = refuses;
    if (refuses) {
      field.value = '';
    }
  }
}

// Expert

const change = (path, body) =>
  expertResult.around(async () => {
    setInfo(await post(path, body));
    expertResult.say('good', 'expert.saved');
  });

function onToggle(id, path, name) {
  $(id).addEventListener('change', async () => {
    await change(path, { [name]: $(id).checked });
    changed(); // shows the true position again where it was refused
  });
}

function factsOf(info) {
  const shown = FACTS.map((name) => [name, info[name] ?? null]).filter(([, value]) => value !== null);
  if (info.merchant) {
    shown.push(['products', (info.merchant.products ?? []).join(', ')]);
    const funds = Object.entries(info.merchant.funds ?? {}).map(([name, cents]) => `${name} ${yuan(cents)}`);
    shown.push(['funds', funds.join(', ')]);
  }
  return shown;
}

let drawnFacts = '';

function renderExpert() {
  const info = state.info;
  setText($('function-url'), info?.function ?? '');
  if (!info) {
    return;
  }
  if (document.activeElement !== $('function-input')) {
    $('function-input').value = info.function;
  }
  const share = info.switch_over?.share;
  const running = share !== undefined && t('expert.switchOver.share', { share: Math.round(share * 100) });
  setText($('switch-over'), running || t('expert.switchOver.none'));
  $('certificates').checked = Boolean(info.certificates_available);
  $('limits').checked = Boolean(info.limits);
  $('api-key').checked = Boolean(info.merchant?.api_v3_key);
  $('certificate').value = info.merchant?.certificate ?? 'valid';
  const shown = factsOf(info);
  const print = language() + JSON.stringify(shown);
  if (print !== drawnFacts) {
    drawnFacts = print;
    $('facts').replaceChildren(
      ...shown.flatMap(([name, value]) => [
        h('dt', {}, t(`fact.${name}`)),
        h('dd', { class: 'mono break' }, String(value)),
      ]),
    );
  }
}

function startExpert() {
  const form = $('function-form');
  const save = () => change('state', { function: $('function-input').value.trim() });
  form.addEventListener('submit', busy(form.querySelector('button'), save));
  const press = (id, body) => $(id).addEventListener('click', busy($(id), () => change('state', body)));
  press('switch-begin', { switch_over: 'begin' });
  press('switch-stop', { switch_over: 'stop' });
  press('rotate-new', { rotate: 'new' });
  press('rotate-old', { rotate: 'old' });
  onToggle('certificates', 'state', 'certificates_available');
  onToggle('limits', 'state', 'limits');
  onToggle('api-key', 'merchant', 'api_v3_key');
  $('certificate').addEventListener('change', () => change('merchant', { certificate: $('certificate').value }));
}

// Reset

function startReset() {
  const dialog = $('confirm');
  $('reset').addEventListener('click', () => dialog.showModal());
  $('confirm-no').addEventListener('click', () => dialog.close());
  const reset = () =>
    clockResult.around(async () => {
      dialog.close();
      setInfo(await post('reset'));
      clockResult.say('good', 'reset.done');
    });
  $('confirm-yes').addEventListener('click', busy($('confirm-yes'), reset));
}

export function startDesk() {
  makeSteps();
  $('clock-form').addEventListener('submit', busy($('clock-form').querySelector('button'), advanceBy));
  $('clock-running').addEventListener('change', () =>
    clockResult.around(async () => {
      setInfo(await post('state', { running: $('clock-running').checked }));
    }).then(changed),
  );
  $('fault-form').addEventListener('submit', busy($('fault-add'), addFault));
  $('fault-kind').addEventListener('change', renderFaultForm);
  $('faults-clear').addEventListener('click', busy($('faults-clear'), clearFaults, () => $('faults-result')));
  startExpert();
  startReset();
  setInterval(renderNow, 250);
  onChange(renderClock);
  onChange(renderFaults);
  onChange(renderExpert);
  onLanguage(() => {
    [clockResult, faultsResult, expertResult].forEach((each) => each.render());
    makeSteps();
    faults.forget();
    changed();
  });
}
