// What happens: the chosen order's life, the callbacks, and the requests that reached WeChat Pay.

import { post } from './api.js';
import { $, KeyedList, badge, busy, h, setBadge, setText, show } from './dom.js';
import { fullTime, moment, pretty, shortTime, yuan } from './format.js';
import { onLanguage, said, t, word } from './i18n.js';
import { changed, onChange, refundsOf, selectedOrder, state, virtualNow } from './store.js';
import { Result, orderWords, stateWords } from './words.js';

const ROWS = 200;
const lifeResult = new Result($('life-result'));
const callbacksResult = new Result($('callbacks-result'));

/** Steps of the order and its refunds in one line, each {time, family, state, note, label}. */
function stepsOf(order) {
  const own = (order.life ?? []).map((step) => ({ ...step, family: 'state', label: '' }));
  const others = refundsOf(order.out_trade_no).flatMap((refund) =>
    (refund.life ?? []).map((step) => ({
      ...step,
      family: 'refundState',
      label: `${refund.out_refund_no} · ${yuan(refund.amount.refund)}`,
    })),
  );
  return [...own, ...others].sort((one, other) => moment(one.time) - moment(other.time));
}

function stepNode(step, repeated) {
  const words = stateWords(step.family, step.state);
  const note = said(step.note);
  // An event that leaves the state as it is shows its own words.
  const text = repeated && note ? note : words.text;
  const more = [step.label, note === text ? '' : note].filter(Boolean).join(' · ');
  const time = { class: 'mono quiet', datetime: step.time, title: fullTime(step.time) };
  return h(
    'li',
    { class: repeated ? 'event' : `step ${words.tone}` },
    h('span', { class: 'strong' }, text),
    h('time', time, shortTime(step.time, virtualNow())),
    !repeated && h('code', { class: 'raw' }, step.state),
    more && h('span', { class: 'quiet break note' }, more),
  );
}

let drawnLife = '';

function renderLife() {
  const order = selectedOrder();
  show($('life-none'), order === null);
  show($('life-state'), order !== null);
  show($('life-again'), Boolean(order?.transaction_id));
  const steps = order ? stepsOf(order) : [];
  if (order) {
    const words = orderWords(order);
    setBadge($('life-state'), `big ${words.tone}`, words.text);
  }
  const print = document.documentElement.lang + JSON.stringify(steps);
  if (print === drawnLife) {
    return;
  }
  drawnLife = print;
  const before = {};
  $('life').replaceChildren(
    ...steps.map((step) => {
      const line = step.family + step.label;
      const repeated = before[line] === step.state;
      before[line] = step.state;
      return stepNode(step, repeated);
    }),
  );
}

async function deliver(kind, number, where) {
  await where.around(async () => {
    const { deliveries } = await post('deliver', { kind, number });
    const last = deliveries.at(-1);
    if (last?.acknowledged) {
      where.say('good', 'life.delivered', { status: last.status });
    } else {
      where.say('warn', 'life.notDelivered');
    }
  });
}

/** A row that opens; its inside is made when it is first opened, since most never are. */
function entry(head, inside) {
  const details = h('details', {}, h('summary', {}, ...head));
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) {
      details.append(h('div', { class: 'inside' }, ...inside()));
    }
  });
  return h('li', {}, details);
}

function block(key, value) {
  const text = pretty(value);
  return [h('h4', {}, t(key)), h('pre', { tabindex: '0', 'aria-label': t(key) }, text || t('log.empty'))];
}

const headerText = (headers) =>
  Object.entries(headers ?? {})
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');

function line(key, value) {
  const label = h('span', { class: 'quiet' }, `${t(key)} `);
  return value ? h('p', { class: 'break' }, label, h('span', { class: 'mono' }, value)) : '';
}

function statusBadge(record, good) {
  if (record.lost) {
    return badge('warn', t('log.lost'));
  }
  return badge(good ? 'good' : 'bad', record.status === null ? t('log.noAnswer') : String(record.status));
}

const callbacks = new KeyedList($('callbacks'), (delivery) => {
  const again = h('button', { type: 'button', class: 'soft' }, t('log.again'));
  again.addEventListener('click', busy(again, () => deliver(delivery.kind, delivery.number, callbacksResult)));
  const time = fullTime(delivery.time);
  const parts = [
    t('log.attempt', { attempt: delivery.attempt }),
    delivery.lost ? '' : t('log.ms', { ms: Math.round(delivery.latency * 1000) }),
    delivery.next ? t('log.next', { time: shortTime(delivery.next, delivery.time) }) : '',
  ];
  const outcome = delivery.lost ? t('log.lost') : t(delivery.acknowledged ? 'log.acknowledged' : 'log.notAcknowledged');
  return entry(
    [
      h(
        'span',
        { class: 'line' },
        statusBadge(delivery, delivery.acknowledged),
        h('span', { class: 'strong mono break' }, delivery.event_type),
        h('time', { class: 'mono quiet', title: time }, time.slice(11)),
      ),
      h('span', { class: 'line' }, h('span', { class: 'mono break' }, delivery.number)),
      h('span', { class: 'line quiet' }, parts.filter(Boolean).join(' · ')),
      delivery.answer ? h('span', { class: 'line answer mono break' }, delivery.answer.slice(0, 200)) : '',
      h('span', { class: 'unseen' }, outcome),
    ],
    () => [
      h('div', { class: 'row' }, again),
      line('log.to', delivery.url),
      line('log.event', delivery.event_id),
      line('log.error', delivery.error),
      ...block('log.plaintext', delivery.plaintext),
      ...block('log.headers', headerText(delivery.headers)),
      ...block('log.body', delivery.body),
      ...block('log.answer', delivery.answer),
    ],
  );
});

const requests = new KeyedList($('requests'), (request) => {
  const time = fullTime(request.time);
  const good = request.status !== null && request.status < 300;
  const status = request.status === null ? badge('wait', t('log.pendingAnswer')) : statusBadge(request, good);
  return entry(
    [
      h(
        'span',
        { class: 'line' },
        status,
        h('span', { class: 'strong mono' }, request.method),
        h('time', { class: 'mono quiet', title: time }, time.slice(11)),
      ),
      h('span', { class: 'line mono break' }, request.target),
      h(
        'span',
        { class: 'line' },
        badge(request.verified ? 'plain' : 'bad', t(request.verified ? 'log.verified' : 'log.unverified')),
        badge('plain', word('host', request.host)),
        request.fault ? badge('warn', t('log.fault', { kind: word('fault', request.fault) })) : '',
      ),
      request.refusal ? h('span', { class: 'line answer break' }, request.refusal) : '',
    ],
    () => [
      line('log.refusal', request.refusal),
      ...block('log.requestHeaders', headerText(request.headers)),
      ...block('log.requestBody', request.body),
      ...block('log.answerHeaders', headerText(request.answer_headers)),
      ...block('log.answer', request.answer),
    ],
  );
});

const countWords = (records) => (records.size ? String(records.size) : '');

function renderLogs() {
  const number = $('only-chosen').checked ? state.selected : null;
  const numbers = new Set(number ? [number, ...refundsOf(number).map((refund) => refund.out_refund_no)] : []);
  const told = [...state.deliveries.values()].filter((delivery) => !number || numbers.has(delivery.number));
  callbacks.update(told.reverse().slice(0, ROWS).map((delivery) => [delivery.id, delivery]));
  const asked = [...state.requests.values()].reverse().slice(0, ROWS);
  requests.update(asked.map((request) => [request.id, request]));
  show($('callbacks-none'), told.length === 0);
  show($('requests-none'), asked.length === 0);
  setText($('count-callbacks'), countWords(state.deliveries));
  setText($('count-requests'), countWords(state.requests));
}

export function startWatch() {
  const again = () => deliver('order', state.selected, lifeResult);
  $('life-again').addEventListener('click', busy($('life-again'), again, () => $('life-result')));
  $('only-chosen').addEventListener('change', changed);
  let shown = null;
  onChange(() => {
    if (shown !== state.selected) {
      shown = state.selected;
      lifeResult.clear();
    }
    renderLife();
  });
  onChange(renderLogs);
  onLanguage(() => {
    [lifeResult, callbacksResult].forEach((each) => each.render());
    callbacks.forget();
    requests.forget();
    changed();
  });
}
