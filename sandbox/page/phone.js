// The user's side: a phone that opens what the cashier offers, and the bank behind it.

import { post, thing } from './api.js';
import { credentialOf } from './cashier.js';
import { $, KeyedList, badge, busy, h, setText, show } from './dom.js';
import { fullTime, yuan } from './format.js';
import { language, onLanguage, t } from './i18n.js';
import { changed, onChange, select, selectedOrder, state, virtualNow } from './store.js';
import { Result, stateWords } from './words.js';

const ROWS = 50;
const result = new Result($('phone-result'));
const refundsResult = new Result($('refunds-result'));
const transfersResult = new Result($('transfers-result'));
const ENDED = ['SUCCESS', 'FAIL', 'CANCELLED'];
const OUTCOMES = [
  ['phone.fail', null],
  ['phone.late', { after: '10m' }],
  ['phone.twice', { twice: true }],
  ['phone.loseOne', { lose: 1 }],
  ['phone.loseAll', { lose: 100 }],
];
/** What the phone shows: {kind, number, description, total, openid}, or null. */
let opened = null;
let drawn = '';
let shownFor = null;
/** The number of an order whose callback the phone's message still waits for. */
let awaited = null;

async function open(credential) {
  result.clear();
  const well = await result.around(async () => {
    const content = await post('phone/open', credential);
    opened = content;
    if (content.kind === 'order') {
      select(content.number);
    }
    result.set('quiet', () =>
      t('phone.opened', { description: content.description ?? content.number, amount: yuan(content.total) }),
    );
  });
  changed();
  if (well) {
    requestAnimationFrame(() => requestAnimationFrame(() => ($('phone-pay') ?? $('phone-app')).focus()));
  }
}

const pay = (manner) =>
  result.around(async () => {
    const number = opened.number;
    const body = { ...(opened.openid ? { openid: opened.openid } : {}), ...manner };
    const { deliveries } = await post(thing('orders', number, 'pay'), body);
    opened = null;
    const good = deliveries.find((delivery) => delivery.acknowledged);
    awaited = good ? null : number;
    if (good) {
      result.say('good', 'phone.delivered', { status: good.status });
    } else if (deliveries.length) {
      result.say('warn', 'phone.notDelivered');
    } else {
      result.say('warn', manner.after ? 'phone.later' : 'phone.noCallback');
    }
    changed();
  });

const fail = () =>
  result.around(async () => {
    await post(thing('orders', opened.number, 'fail'));
    result.say('bad', 'phone.failed');
  });

function button(id, key, action, className = '') {
  const made = h('button', { type: 'button', id, class: className }, t(key));
  made.addEventListener('click', busy(made, action, () => $('phone-result')));
  return made;
}

function note(symbol, title, hint, ...more) {
  return [
    h('p', { class: `symbol ${symbol}`, 'aria-hidden': 'true' }),
    h('p', { class: 'phone-title' }, title),
    hint && h('p', { class: 'quiet' }, hint),
    ...more,
  ];
}

const PAID = ['SUCCESS', 'REFUND'];

function screen(order) {
  if (opened?.kind === 'transfer') {
    return transferScreen();
  }
  if (!order) {
    return note('idle', t('phone.idle'), t('phone.idleHint'));
  }
  if (PAID.includes(order.trade_state)) {
    const amount = h('p', { class: 'phone-amount' }, yuan(order.total));
    return note('done', t('phone.paid'), t('phone.paidHint'), amount, h('p', { class: 'break' }, order.description));
  }
  if (order.trade_state !== 'NOTPAY') {
    return note('closed', t('phone.closed'), t('phone.closedHint'));
  }
  return opened?.number === order.out_trade_no ? sheet() : offer(order);
}

function offer(order) {
  const scans = order.scene === 'native';
  const label = scans ? 'phone.scan' : 'phone.open';
  const start = button('phone-open', label, () => open(credentialOf(order)), 'primary wide');
  return note(scans ? 'scan' : 'wallet', t(`phone.ready.${order.scene}`), yuan(order.total), start);
}

function sheet() {
  const outcomes = OUTCOMES.map(([key, manner]) =>
    button(`phone-${key.split('.')[1]}`, key, () => (manner ? pay(manner) : fail()), 'outcome'),
  );
  return [
    h('p', { class: 'quiet' }, t('phone.payTo', { merchant: state.info?.merchant_id ?? '' })),
    h('p', { class: 'phone-amount' }, yuan(opened.total)),
    h('p', { class: 'break strong', id: 'phone-description' }, opened.description),
    h('p', { class: 'method' }, h('span', { class: 'quiet' }, t('phone.method')), h('span', {}, t('phone.change'))),
    button('phone-pay', 'phone.pay', () => pay({}), 'primary wide'),
    h('div', { class: 'outcomes', role: 'group', 'aria-label': t('phone.or') }, ...outcomes),
  ];
}

function transferScreen() {
  const putAway = button('phone-away', 'phone.putAway', async () => {
    opened = null;
    changed();
  });
  const known = state.transfers.get(opened.number);
  const words = stateWords('transferState', known?.state ?? 'WAIT_USER_CONFIRM');
  const ended = known && ENDED.includes(known.state);
  return note(
    'wallet',
    opened.description ?? '',
    null,
    h('p', { class: 'phone-amount' }, yuan(opened.total)),
    badge(words.tone, words.text),
    !ended && h('div', { class: 'outcomes' }, ...transferButtons(opened.number)),
    putAway,
  );
}

function renderPhone() {
  const order = selectedOrder();
  setText($('phone-time'), fullTime(virtualNow()).slice(11, 16));
  if (shownFor !== state.selected) {
    shownFor = state.selected;
    if (opened?.number !== shownFor) {
      opened = null;
      result.clear();
    }
  }
  if (awaited !== null) {
    const good = [...state.deliveries.values()].find((each) => each.number === awaited && each.acknowledged);
    if (good && awaited === shownFor) {
      result.say('good', 'phone.delivered', { status: good.status });
    }
    awaited = good ? null : awaited;
  }
  // Drawn anew only when something on it changes, so that the focus stays where it is.
  const transfer = opened?.kind === 'transfer' ? state.transfers.get(opened.number)?.state : '';
  const print = JSON.stringify([language(), opened, order?.out_trade_no, order?.trade_state, transfer]);
  if (print !== drawn) {
    drawn = print;
    $('phone-app').replaceChildren(...screen(order).filter(Boolean));
  }
}

const settle = (refund, status) =>
  refundsResult.around(async () => {
    const lose = Number($('refund-lose').value);
    await post(thing('refunds', refund.out_refund_no, 'settle'), { status, ...(lose ? { lose } : {}) });
    refundsResult.set('good', () =>
      t('refunds.settled', { number: refund.out_refund_no, state: stateWords('refundState', status).text }),
    );
  });

function listButton(key, action, fallback, className = '') {
  const made = h('button', { type: 'button', class: className }, t(key));
  made.addEventListener('click', busy(made, action, fallback));
  return made;
}

const titleLine = (number, cents) =>
  h(
    'div',
    { class: 'headline' },
    h('span', { class: 'mono break grow' }, number),
    h('span', { class: 'order-amount' }, yuan(cents)),
  );

const refunds = new KeyedList($('refunds'), (refund) => {
  const words = stateWords('refundState', refund.status);
  const end = (key, status, className) =>
    listButton(key, () => settle(refund, status), () => $('refunds-result'), className);
  return h(
    'li',
    {},
    titleLine(refund.out_refund_no, refund.amount.refund),
    h('p', { class: 'quiet break' }, t('refunds.of', { number: refund.out_trade_no })),
    badge(words.tone, words.text),
    h(
      'div',
      { class: 'row' },
      end('refunds.arrives', 'SUCCESS', 'soft'),
      refund.status === 'PROCESSING' && end('refunds.abnormal', 'ABNORMAL'),
      refund.status === 'PROCESSING' && end('refunds.closed', 'CLOSED'),
    ),
  );
});

function transferButtons(number) {
  const end = (key, name, className) =>
    listButton(
      key,
      () =>
        transfersResult.around(async () => {
          await post(thing('transfers', number, 'finish'), { state: name });
          transfersResult.set('good', () =>
            t('transfers.finished', { number, state: stateWords('transferState', name).text }),
          );
        }),
      () => $('transfers-result'),
      className,
    );
  return [
    end('transfers.confirm', 'SUCCESS', 'soft'),
    end('transfers.fail', 'FAIL'),
    end('transfers.cancel', 'CANCELLED'),
  ];
}

const transfers = new KeyedList($('transfers'), (transfer) => {
  const words = stateWords('transferState', transfer.state);
  const waits = transfer.state === 'WAIT_USER_CONFIRM' && transfer.package_info;
  const openIt = () => open({ package_info: transfer.package_info });
  const opens = waits && listButton('phone.open', openIt, () => $('phone-app'));
  return h(
    'li',
    {},
    titleLine(transfer.out_bill_no, transfer.transfer_amount),
    h('p', { class: 'quiet mono break' }, transfer.openid),
    badge(words.tone, words.text),
    !ENDED.includes(transfer.state) &&
      h('div', { class: 'row' }, ...transferButtons(transfer.out_bill_no), opens || ''),
  );
});

function renderLists() {
  const open = [...state.refunds.values()].filter((refund) => ['PROCESSING', 'ABNORMAL'].includes(refund.status));
  refunds.update(open.reverse().slice(0, ROWS).map((refund) => [refund.out_refund_no, refund]));
  show($('refunds-none'), open.length === 0);
  const newest = [...state.transfers.values()].reverse().slice(0, ROWS);
  transfers.update(newest.map((transfer) => [transfer.out_bill_no, transfer]));
  show($('transfers-none'), newest.length === 0);
}

/** Which way of opening a pasted text belongs to. */
function recognised(text) {
  if (/^weixin:/i.test(text)) {
    return { code_url: text };
  }
  return /^https?:/i.test(text) ? { h5_url: text } : { prepay_id: text.replace(/^prepay_id=/, '') };
}

export function startPhone() {
  const form = $('other-form');
  const openOther = async () => {
    const text = $('other').value.trim();
    if (text) {
      await open(recognised(text));
    }
  };
  form.addEventListener('submit', busy(form.querySelector('button'), openOther));
  onChange(renderPhone);
  onChange(renderLists);
  setInterval(() => setText($('phone-time'), fullTime(virtualNow()).slice(11, 16)), 1000);
  onLanguage(() => {
    [result, refundsResult, transfersResult].forEach((each) => each.render());
    refunds.forget();
    transfers.forget();
    changed();
  });
}
