// An order's number, its state, and how to learn of it without asking too often.

import { POLL } from './config.js';
import { call, Trouble } from './pay-common.js';

const TRIES = 4; // of an order whose outcome is unknown, before somebody is asked
const LONGEST_WAIT = 18; // seconds: what wxpay_order_wait allows
const LONGEST_PAUSE = 30_000; // milliseconds, after failures
const HIDDEN_PAUSE = 15_000; // while nobody sees the page
const PAYING_GRACE = 5; // questions: somebody who is typing a password is not interrupted at once

const ALPHABET = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ'; // 32, so that five bits are one character

// WeChat Pay's words, and those of the order database; what is not here may still be paid.
const MEANS = {
  SUCCESS: 'paid',
  REFUND: 'paid',
  PAID: 'paid',
  PARTIALLY_REFUNDED: 'paid',
  USERPAYING: 'paying',
  CLOSED: 'over',
  REVOKED: 'over',
  PAYERROR: 'over',
};

/** A number that nobody can guess or has used: the time, and 8 random characters. */
export function newNumber(prefix) {
  const time = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
  const random = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => ALPHABET[byte & 31]);
  return `${prefix}${time}${random.join('')}`;
}

/** Place an order; what cannot be known is tried again, so `params` must be the same each time. Throws Trouble. */
export async function place(action, params) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call(action, params);
    } catch (trouble) {
      if (!expected(trouble).passes || tries === TRIES) {
        throw trouble;
      }
      await pause(delay(0, tries - 1));
    }
  }
}

/** The order as WeChat Pay has it: `{state, word, total}`, state open, paying, paid or over. Throws Trouble. */
export async function ask(number) {
  const order = await call('wxpay_query_order_by_out_trade_no', { out_trade_no: number });
  return seen(order.trade_state, order);
}

const seen = (word, order) => ({ state: MEANS[word] ?? 'open', word, total: order.amount?.total });

const isEnd = ({ state }) => state === 'paid' || state === 'over';

/**
 * The order once it is paid or over; null when `until` has passed (milliseconds) or `signal` is aborted.
 *
 * With an order database the function answers in the moment of the callback, and WeChat Pay is asked only now and then,
 * because a callback may get lost. Without one, WeChat Pay is asked again and again. `tell` gets every state, and every
 * Trouble: none of them ends it.
 */
export async function untilEnd(number, { until, signal, tell }) {
  let hasDatabase = true;
  for (let asked = 0, failed = 0; Date.now() < until && !signal.aborted; ) {
    const begun = Date.now();
    try {
      if (hasDatabase && !document.hidden) {
        const stored = await wait(number, Math.ceil((until - begun) / 1000));
        if (stored.state === 'paid') {
          return stored;
        }
        hasDatabase = stored.kept;
      }
      const found = await ask(number);
      tell(found);
      if (isEnd(found)) {
        return found;
      }
      asked += 1;
      failed = 0;
    } catch (trouble) {
      failed += 1;
      tell(expected(trouble));
    }
    await pause(Math.min(delay(asked, failed) - (Date.now() - begun), until - Date.now()));
  }
  return null;
}

/**
 * Close an order that is not paid, and say what became of it.
 *
 * It may be paid in the last moment, and an answer may get lost: only what WeChat Pay says afterwards counts.
 */
export async function close(number, { tell }) {
  for (let tries = 0; ; tries += 1) {
    try {
      const found = await ask(number);
      tell(found);
      if (isEnd(found)) {
        return found;
      }
      if (found.state !== 'paying' || tries >= PAYING_GRACE) {
        await call('wxpay_close_order', { out_trade_no: number });
      }
    } catch (trouble) {
      const { passes, status, body } = expected(trouble);
      if (!passes && status === 404 && body.code === -1) {
        return { state: 'over', word: 'GONE' }; // there is no such order, or it is another user's
      }
      if (passes) {
        tell(trouble);
      }
    }
    if (tries > 0) {
      await pause(delay(0, tries));
    }
  }
}

/** As the order database has it, at the latest after `seconds`; `kept` is false where none keeps it. */
async function wait(number, seconds) {
  try {
    const params = { out_trade_no: number, seconds: Math.max(1, Math.min(seconds, LONGEST_WAIT)) };
    const order = await call('wxpay_order_wait', params);
    return { ...seen(order.state, order), kept: true };
  } catch (trouble) {
    return { state: 'open', kept: expected(trouble).passes || trouble.status === 401 };
  }
}

function expected(error) {
  if (error instanceof Trouble) {
    return error;
  }
  throw error;
}

/** Milliseconds from one question to the next: growing, bounded, and not the same for everybody. */
export function delay(asked, failed) {
  const grown = failed ? Math.min(POLL.first * 2 ** failed, LONGEST_PAUSE) : POLL.first * 1.1 ** asked;
  const bounded = failed ? grown : Math.min(grown, POLL.longest);
  return (document.hidden ? Math.max(bounded, HIDDEN_PAUSE) : bounded) * (0.9 + 0.2 * Math.random());
}

/** Less when the line is back, or the page is looked at again. */
export function pause(milliseconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      document.removeEventListener('visibilitychange', shown);
      resolve();
    };
    const shown = () => document.hidden || done();
    const timer = setTimeout(done, milliseconds);
    addEventListener('online', done);
    document.addEventListener('visibilitychange', shown);
  });
}
