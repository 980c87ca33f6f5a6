// The states of orders, refunds and transfers: their words and colours.

import { t, word } from './i18n.js';
import { refundsOf } from './store.js';

const TONES = {
  state: { NOTPAY: 'wait', SUCCESS: 'good', REFUND: 'info', CLOSED: 'off' },
  refundState: { PROCESSING: 'wait', SUCCESS: 'info', ABNORMAL: 'bad', CLOSED: 'off' },
  transferState: { SUCCESS: 'good', FAIL: 'bad', CANCELLED: 'off' },
};

/** Tone and words of one state. */
export function stateWords(family, name) {
  return { tone: TONES[family][name] ?? 'wait', text: word(family, name) };
}

export const isCounted = (refund) => refund.status !== 'CLOSED';

export const refundedSum = (refunds) => refunds.reduce((sum, refund) => sum + refund.amount.refund, 0);

/** An order in one word: WeChat Pay's own state says REFUND from the first request on, whatever came of it. */
export function orderWords(order) {
  if (order.trade_state !== 'REFUND') {
    return stateWords('state', order.trade_state);
  }
  const arrived = refundsOf(order.out_trade_no).filter((refund) => refund.status === 'SUCCESS');
  if (!arrived.length) {
    return stateWords('state', 'REFUND');
  }
  const whole = refundedSum(arrived) === order.total;
  return { tone: 'info', text: t(whole ? 'refundState.SUCCESS' : 'refundState.part') };
}

/** A message in a live region that is worded anew when the language changes. */
export class Result {
  constructor(element) {
    this.element = element;
    this.make = null;
    this.tone = '';
  }

  say(tone, key, values = {}) {
    this.set(tone, () => t(key, values));
  }

  set(tone, make) {
    this.tone = tone;
    this.make = make;
    this.render();
  }

  clear() {
    this.set('', null);
  }

  render() {
    const text = this.make ? this.make() : '';
    this.element.dataset.tone = this.tone;
    if (this.element.textContent !== text) {
      this.element.textContent = text;
    }
  }

  /** Runs an action; what goes wrong is said here. Returns whether it went well. */
  async around(action) {
    try {
      await action();
      return true;
    } catch (trouble) {
      if (!trouble.key) {
        throw trouble;
      }
      this.set('bad', () => trouble.words);
      return false;
    }
  }
}
