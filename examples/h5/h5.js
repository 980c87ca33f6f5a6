// Pays in a mobile browser outside WeChat: the order, the way to WeChat and back, and the question how it went.

import { ORDER } from '../pc-cashier/config.js';
import { ask, close, newNumber, place } from '../pc-cashier/order.js';
import { Trouble } from '../pc-cashier/pay-common.js';
import { translate, yuan } from '../pc-cashier/words.js';
import { t } from './words.js';

const KEPT = 'pay-common-h5-order';
const NUMBER = /^H5[0-9]{14}[2-9A-HJ-NP-Z]{8}$/;

const $ = (id) => document.getElementById(id);

// The number under which this browser has ordered, and may order again.
let own = localStorage.getItem(KEPT);
// WeChat may bring the user back into another browser: then the address has the number. But anybody can write an address,
// so that one is only asked about.
let number = own ?? fromAddress();

function fromAddress() {
  const given = new URLSearchParams(location.search).get('order') ?? '';
  return NUMBER.test(given) ? given : null;
}

function keep(next) {
  own = number = next;
  localStorage.setItem(KEPT, next);
}

function forget() {
  if (own) {
    localStorage.removeItem(KEPT);
  }
  own = number = null;
  history.replaceState(null, '', location.pathname);
}

/** ready, busy, returned, paid or elsewhere: what can be seen and pressed follows from it. */
function show(phase, words = '') {
  document.body.dataset.phase = phase;
  $('status').textContent = words;
  $('pay').hidden = phase !== 'ready' && !(phase === 'returned' && own);
  $('pay').textContent = t(phase === 'returned' ? 'again' : 'pay');
  $('check').hidden = phase !== 'returned';
  $('cancel').hidden = phase !== 'returned' || !own;
  $('number').textContent = number ? t('number', { number }) : '';
}

/** To WeChat. The same order again gives a fresh link, because one lives five minutes only [4012791834]. */
async function pay() {
  keep(own ?? newNumber('H5'));
  show('busy', t('placing'));
  const order = { ...ORDER, out_trade_no: number, scene_info: { h5_info: { type: device() } } };
  try {
    const { h5_url: link } = await place('wxpay_order_h5', order);
    show('busy', t('leaving'));
    const back = `${location.origin}${location.pathname}?order=${number}`;
    location.assign(`${link}&redirect_url=${encodeURIComponent(back)}`); // nothing else may be changed [4012791835]
  } catch (trouble) {
    if (!trouble.taken) {
      show('returned', trouble.passes ? t('unknown') : trouble.message);
    } else if (!(await isOver())) {
      throw trouble;
    }
  }
}

/** Coming back says nothing about the payment: the user is asked, and then WeChat Pay [4012791835]. */
async function check() {
  if (!(await isOver())) {
    show('returned', t(own ? 'notYet' : 'notYetElsewhere'));
  }
}

async function cancel() {
  show('busy', t('closing'));
  end(await close(number, { tell: () => {} }));
}

/** Whether WeChat Pay says that the order has ended; then that is shown. */
async function isOver() {
  show('busy', t('asking'));
  const found = await ask(number);
  const isEnd = found.state === 'paid' || found.state === 'over';
  if (isEnd) {
    end(found);
  }
  return isEnd;
}

function end({ state, word, total }) {
  if (state === 'paid') {
    show('paid', t(word.includes('REFUND') ? 'refunded' : 'paid', { amount: yuan(total ?? ORDER.amount.total) }));
    forget();
  } else {
    forget();
    show('ready', t(word === 'GONE' ? 'gone' : 'over'));
  }
}

function device() {
  return /iPhone|iPad|iPod/.test(navigator.userAgent) ? 'iOS' : /Android/.test(navigator.userAgent) ? 'Android' : 'Wap';
}

function onPress(id, action) {
  $(id).addEventListener('click', async () => {
    try {
      await action();
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) {
        throw trouble;
      }
      show('returned', trouble.message);
    }
  });
}

function start() {
  if (/MicroMessenger/i.test(navigator.userAgent)) {
    show('elsewhere', t('inWechat'));
  } else if (number) {
    show('returned', t('asked'));
  } else {
    show('ready');
  }
}

translate(t);
$('what').textContent = ORDER.description;
$('amount').textContent = yuan(ORDER.amount.total);
onPress('pay', pay);
onPress('check', check);
onPress('cancel', cancel);
addEventListener('pageshow', ({ persisted }) => persisted && start()); // back from WeChat by the browser's own button
start();
