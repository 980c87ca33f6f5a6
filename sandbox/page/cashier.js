// The merchant's side: orders, queries, closes and refunds, all through the function.

import { callFunction, callGateway } from './api.js';
import { $, KeyedList, badge, busy, h, setBadge, setText, show } from './dom.js';
import { centsOf, fullTime, pretty, randomText, shortTime, yuan } from './format.js';
import { language, onLanguage, t } from './i18n.js';
import { changed, onChange, refundsOf, select, selectedOrder, state, virtualNow } from './store.js';
import { Result, isCounted, orderWords, refundedSum, stateWords } from './words.js';

const ROWS = 200;
// An address that may pay: WeChat Pay takes no private ones.
const PAYER_IP = '8.8.8.8';
const result = new Result($('cashier-result'));
const chosenResult = new Result($('chosen-result'));
let descriptionTouched = false;
let shownFor = null;

const scene = () => document.querySelector('input[name=scene]:checked').value;

const newNumber = (prefix) => prefix + fullTime(virtualNow()).slice(0, 10).replaceAll('-', '') + randomText(8);

/** Makes a call of the function and keeps its answer, good or bad, where people can open it. */
async function kept(where, call) {
  const keep = (value) => {
    show(where, value !== null);
    setText(where.querySelector('pre'), pretty(value));
  };
  try {
    const reply = await call();
    keep(reply.answer);
    return reply.data;
  } catch (trouble) {
    keep(trouble.answer ?? null);
    throw trouble;
  }
}

const functionUrl = () => state.info?.function ?? '';

const throughFunction = (where, action, body, options = {}) =>
  kept(where, () => callFunction(action, body, { ...options, functionUrl: functionUrl() }));

const ordered = (action, body) => throughFunction($('answer'), action, body);

const PLACE = {
  jsapi: async (order) => {
    const data = await ordered('wxpay_order', order);
    return { jsapi: chosen(data, 'appId', 'timeStamp', 'nonceStr', 'package', 'signType', 'paySign') };
  },
  native: async (order) => {
    const call = () => callGateway('wxpay_order_native', order, { functionUrl: functionUrl() });
    const data = await kept($('answer'), call);
    return { code_url: data.code_url };
  },
  h5: async (order) => {
    const info = { payer_client_ip: PAYER_IP, h5_info: { type: 'Wap' } };
    const data = await ordered('wxpay_order_h5', { ...order, scene_info: info });
    return { h5_url: data.h5_url };
  },
  app: async (order) => {
    const data = await ordered('wxpay_order_app', order);
    return { app: chosen(data, 'appId', 'partnerId', 'prepayId', 'packageValue', 'nonceStr', 'timeStamp', 'sign') };
  },
};

/** These members of the function's answer, whose names differ in their case from one SDK to the next. */
function chosen(data, ...names) {
  const found = Object.fromEntries(Object.entries(data).map(([name, value]) => [name.toLowerCase(), value]));
  return Object.fromEntries(names.map((name) => [name, data[name] ?? found[name.toLowerCase()]]));
}

async function place() {
  const description = $('description').value.trim();
  const total = centsOf($('amount').value);
  mark($('description'), !description);
  mark($('amount'), total === null);
  if (!description || total === null) {
    result.say('bad', description ? 'cashier.badAmount' : 'cashier.badDescription');
    (description ? $('amount') : $('description')).focus();
    return;
  }
  result.clear();
  const number = newNumber('PAGE');
  const order = { description, out_trade_no: number, amount: { total, currency: 'CNY' } };
  await result.around(async () => {
    state.credentials.set(number, await PLACE[scene()](order));
    select(number);
    result.say('good', 'cashier.placed', { number });
    changed();
  });
}

const mark = (input, bad) => (bad ? input.setAttribute('aria-invalid', 'true') : input.removeAttribute('aria-invalid'));

const asked = (action, body, options) => throughFunction($('chosen-answer'), action, body, options);

const query = () =>
  chosenResult.around(async () => {
    const order = { out_trade_no: state.selected };
    const data = await asked('wxpay_query_order_by_out_trade_no', order);
    chosenResult.set('good', () => t('cashier.queried', { state: stateWords('state', data.trade_state).text }));
  });

const close = () =>
  chosenResult.around(async () => {
    const number = state.selected;
    await asked('wxpay_close_order', { out_trade_no: number });
    chosenResult.say('good', 'cashier.closed', { number });
  });

const leftOf = (order) => order.total - refundedSum(refundsOf(order.out_trade_no).filter(isCounted));

async function refund() {
  const order = selectedOrder();
  const left = leftOf(order);
  const part = document.querySelector('input[name=refund]:checked').value === 'part';
  const cents = part ? centsOf($('refund-amount').value) : left;
  const bad = cents === null || cents > left;
  mark($('refund-amount'), bad);
  if (bad) {
    chosenResult.say('bad', 'cashier.badRefund', { amount: yuan(left) });
    $('refund-amount').focus();
    return;
  }
  const number = newNumber('R');
  const amount = { refund: cents, total: order.total, currency: 'CNY' };
  const body = { out_trade_no: order.out_trade_no, out_refund_no: number, amount };
  await chosenResult.around(async () => {
    await asked('wxpay_refund', body, { operator: true });
    chosenResult.say('good', 'cashier.refundAsked', { number });
  });
}

/** What the phone can be given for this order. */
export function credentialOf(order) {
  const held = state.credentials.get(order.out_trade_no);
  if (held) {
    return held;
  }
  return order.credential ? { [order.credential.kind]: order.credential.value } : null;
}

function renderChosen() {
  const order = selectedOrder();
  if (shownFor !== state.selected) {
    shownFor = state.selected;
    chosenResult.clear();
    show($('chosen-answer'), false);
  }
  show($('chosen-none'), order === null);
  show($('chosen-order'), order !== null);
  if (!order) {
    return;
  }
  const words = orderWords(order);
  setText($('chosen-description'), order.description);
  setText($('chosen-number'), order.out_trade_no);
  setText($('chosen-amount'), yuan(order.total));
  setBadge($('chosen-state'), words.tone, words.text);
  const open = order.trade_state === 'NOTPAY';
  renderCredential(order, open);
  show($('close'), open);
  const left = ['SUCCESS', 'REFUND'].includes(order.trade_state) ? leftOf(order) : 0;
  show($('refund-form'), left > 0);
  setText($('refund-all'), t('cashier.refundAll', { amount: yuan(left) }));
}

function renderCredential(order, open) {
  const credential = credentialOf(order);
  const code = open ? credential?.code_url : undefined;
  show($('chosen-qr'), Boolean(code));
  const image = $('qr-image');
  if (code) {
    const source = `/sandbox/qr?text=${encodeURIComponent(code)}`;
    if (image.getAttribute('src') !== source) {
      image.src = source;
    }
    image.alt = t('cashier.qrAlt', { number: order.out_trade_no });
  } else {
    image.removeAttribute('src');
  }
  show($('chosen-credential'), open && credential !== null);
  if (open && credential) {
    const [kind, value] = Object.entries(credential)[0];
    const names = { code_url: t('cashier.code'), jsapi: 'wx.requestPayment', app: 'PayReq' };
    setText($('credential-name'), names[kind] ?? kind);
    setText($('credential-value'), typeof value === 'string' ? value : (value.package ?? value.prepayId));
    const known = order.credential;
    const until = known?.live && t('cashier.validUntil', { time: shortTime(known.expires, virtualNow()) });
    setText($('credential-life'), known ? until || t('cashier.notLive') : '');
  }
}

const list = new KeyedList($('orders'), ({ order, words, selected }) =>
  h(
    'li',
    {},
    h(
      'button',
      {
        type: 'button',
        class: 'order pair',
        'aria-pressed': String(selected),
        onclick: () => select(order.out_trade_no),
      },
      h('span', { class: 'strong clip' }, order.description),
      h('span', { class: 'order-amount' }, yuan(order.total)),
      h('span', { class: 'quiet mono clip' }, order.out_trade_no),
      badge(words.tone, words.text),
    ),
  ),
);
// A row is kept while nothing that it shows has changed.
const shownRows = new Map();

function rowOf(order) {
  const words = orderWords(order);
  const selected = order.out_trade_no === state.selected;
  const print = `${language()} ${selected} ${words.text} ${order.total} ${order.description}`;
  const known = shownRows.get(order.out_trade_no);
  if (known?.print === print) {
    return known;
  }
  const row = { print, order, words, selected };
  shownRows.set(order.out_trade_no, row);
  return row;
}

function renderOrders() {
  const wanted = $('orders-filter').value.trim().toLowerCase();
  const all = [...state.orders.values()];
  const found = [];
  for (let index = all.length - 1; index >= 0 && found.length < ROWS; index -= 1) {
    const order = all[index];
    if (!wanted || `${order.out_trade_no} ${order.description}`.toLowerCase().includes(wanted)) {
      found.push(order);
    }
  }
  list.update(found.map((order) => [order.out_trade_no, rowOf(order)]));
  for (const number of shownRows.keys()) {
    if (!list.rows.has(number)) {
      shownRows.delete(number);
    }
  }
  const cut = found.length === ROWS && all.length > ROWS;
  setText($('orders-count'), t(cut ? 'orders.shown' : 'orders.count', { shown: ROWS, count: all.length }));
  show($('orders-none'), found.length === 0);
  setText($('orders-none'), t(all.length ? 'orders.noMatch' : 'orders.none'));
}

function renderForm() {
  setText($('scene-hint'), t(`scene.hint.${scene()}`));
  if (!descriptionTouched) {
    $('description').value = t('cashier.defaultDescription');
  }
}

export function startCashier() {
  const fallback = () => $('chosen-result');
  $('order-form').addEventListener('submit', busy($('place'), place));
  $('order-form').addEventListener('change', renderForm);
  $('description').addEventListener('input', () => {
    descriptionTouched = true;
  });
  $('query').addEventListener('click', busy($('query'), query, fallback));
  $('close').addEventListener('click', busy($('close'), close, fallback));
  $('refund-form').addEventListener('submit', busy($('refund'), refund, fallback));
  $('refund-amount').addEventListener('focus', () => {
    document.querySelector('input[name=refund][value=part]').checked = true;
  });
  $('orders-filter').addEventListener('input', changed);
  onChange(renderChosen);
  onChange(renderOrders);
  onLanguage(() => {
    result.render();
    chosenResult.render();
    renderForm();
    changed();
  });
}
