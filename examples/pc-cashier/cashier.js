// The cashier: one order, its QR code, and what becomes of it.

import { ORDER, PAY_WITHIN } from './config.js';
import { close, newNumber, place, untilEnd } from './order.js';
import { Trouble } from './pay-common.js';
import { drawn } from './qr.js';
import { t, translate, yuan } from './words.js';

const CODE_LIVES = 2 * 60 * 60_000; // milliseconds [4012791877]
const KEPT = 'pay-common-order';

const $ = (id) => document.getElementById(id);

// {number, codeUrl, since}, as long as it may be paid. It outlives a reload, so that nobody is shown two codes.
let order = JSON.parse(sessionStorage.getItem(KEPT));
let busy = false;
let renewing = null;

function keep(next) {
  order = next;
  sessionStorage.setItem(KEPT, JSON.stringify(order));
}

/** ready, placing, waiting, closing, paid, over or failed: what can be seen and pressed follows from it. */
function show(phase, words = '') {
  document.body.dataset.phase = phase;
  $('status').textContent = words;
  $('pay').hidden = phase !== 'ready' && phase !== 'failed';
  $('pay').textContent = t(phase === 'failed' ? 'again' : 'pay');
  $('renew').hidden = phase !== 'waiting' && phase !== 'over';
  $('number').textContent = order ? t('number', { number: order.number }) : '';
  $('code').replaceChildren(...(phase === 'waiting' ? [drawn(order.codeUrl, t('code'))] : []));
}

/** One thing at a time, however often a button is pressed; a renewed order is followed by a new one. */
async function sell() {
  if (busy) {
    return;
  }
  busy = true;
  try {
    while (await placed() && (await settled()) === 'renewed');
  } finally {
    busy = false;
  }
}

/** Whether there is a code to show. Until there is one, everything is repeated under the same number. */
async function placed() {
  keep(order ?? { number: newNumber('PC') });
  if (order.codeUrl) {
    return true;
  }
  show('placing', t('placing'));
  try {
    const { code_url: codeUrl } = await place('wxpay_order_native', { ...ORDER, out_trade_no: order.number });
    keep({ ...order, codeUrl, since: Date.now() });
    return true;
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) {
      throw trouble;
    }
    show('failed', trouble.passes ? `${t('unknown')} (${trouble.message})` : trouble.message);
    if (trouble.taken) {
      keep(null); // its code was never shown, so nobody can pay it
    }
    return false;
  }
}

/** Show the code until the order is paid or closed: paid, over, or renewed when a new one is to follow. */
async function settled() {
  const until = order.since + Math.min(PAY_WITHIN, CODE_LIVES);
  renewing = new AbortController();
  const { signal } = renewing;
  const pressed = new Promise((resolve) => signal.addEventListener('abort', () => resolve(null)));
  show('waiting', t('waiting'));
  const clock = setInterval(tick, 1000, until);
  tick(until);
  const watched = untilEnd(order.number, { until, signal, tell: (news) => signal.aborted || tell(news, 'waiting') });
  let found = await Promise.race([watched, pressed]);
  clearInterval(clock);
  $('left').textContent = '';
  if (!found) {
    show('closing', t('closing'));
    found = await close(order.number, { tell: (news) => tell(news, 'closing') });
  }
  const wasPaid = found.state === 'paid';
  show(wasPaid ? 'paid' : 'over', wasPaid ? paidWords(found) : overWords(found, until));
  keep(null);
  return signal.aborted && !wasPaid ? 'renewed' : found.state;
}

const paidWords = ({ word, total }) =>
  t(word.includes('REFUND') ? 'refunded' : 'paid', { amount: yuan(total ?? ORDER.amount.total) });

const overWords = ({ word }, until) => (word === 'GONE' ? t('gone') : t(Date.now() < until ? 'over' : 'closed'));

/** News of a pending order in one line, which screen readers speak: the same words are not said twice. */
function tell(news, otherwise) {
  const words = news instanceof Trouble ? troubleWords(news) : t(news.state === 'paying' ? 'paying' : otherwise);
  if ($('status').textContent !== words) {
    $('status').textContent = words;
  }
}

const troubleWords = (trouble) => (trouble.status === 0 ? t('waitingForAnswer') : trouble.message);

function tick(until) {
  const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const left = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  $('left').textContent = t('left', { left });
}

translate();
$('what').textContent = ORDER.description;
$('amount').textContent = yuan(ORDER.amount.total);
$('pay').addEventListener('click', sell);
$('renew').addEventListener('click', () => (busy ? renewing.abort() : sell()));
show('ready');
if (order) {
  sell();
}
