// What the page knows of the sandbox, kept up to date by its events.

import { get } from './api.js';
import { moment } from './format.js';

const RECORDS_KEPT = 400;
const CLOCK_EVERY_MS = 400;
const RECONNECT_MS = 2000;

export const state = {
  live: 'connecting',
  info: null,
  orders: new Map(),
  refunds: new Map(),
  transfers: new Map(),
  requests: new Map(),
  deliveries: new Map(),
  faults: [],
  kinds: [],
  pending: [],
  selected: null,
  /** What the function answered to orders of this page: the phone opens that instead of the bare prepay_id. */
  credentials: new Map(),
};

const KEYS = { order: 'out_trade_no', refund: 'out_refund_no', transfer: 'out_bill_no' };
const renderers = [];
let planned = false;
let buffer = null;
let source = null;
let clockTimer = null;
let clockBase = { ms: Date.now(), at: performance.now() };

export function onChange(render) {
  renderers.push(render);
}

/** Asks for one rendering before the next frame, however many changes come until then. */
export function changed() {
  if (!planned) {
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      renderers.forEach((render) => render());
    });
  }
}

export function select(number) {
  if (state.selected !== number) {
    state.selected = number;
    changed();
  }
}

export const selectedOrder = () => state.orders.get(state.selected) ?? null;

export function refundsOf(number) {
  return [...state.refunds.values()].filter((refund) => refund.out_trade_no === number);
}

/** Virtual time in Unix seconds: it runs as fast as the wall's between two messages. */
export function virtualNow() {
  return (clockBase.ms + performance.now() - clockBase.at) / 1000;
}

export function setClock(clock) {
  clockBase = { ms: moment(clock.now) ?? Date.now(), at: performance.now() };
  if (state.info) {
    state.info = { ...state.info, now: clock.now, running: clock.running ?? state.info.running };
  }
  if (clock.pending) {
    state.pending = clock.pending;
  }
  changed();
}

export function setInfo(info) {
  state.info = info;
  setClock(info);
}

export function setFaults(answer) {
  state.faults = answer.faults;
  state.kinds = answer.kinds ?? state.kinds;
  changed();
}

export function apply(kind, data) {
  if (kind in KEYS) {
    state[`${kind}s`].set(data[KEYS[kind]], data);
    if (kind === 'order' && state.selected === null) {
      state.selected = data.out_trade_no;
    }
  } else if (kind === 'request' || kind === 'delivery') {
    const records = kind === 'request' ? state.requests : state.deliveries;
    records.set(data.id, data);
    if (records.size > RECORDS_KEPT) {
      records.delete(records.keys().next().value);
    }
  } else if (kind === 'faults') {
    setFaults(data);
  } else if (kind === 'state') {
    setInfo(data);
  }
  changed();
}

/** Everything anew. What happens meanwhile is kept back and applied after it. */
async function fetchAll() {
  const mine = (buffer = []);
  try {
    const info = await get('state');
    const [orders, refunds, transfers, requests, deliveries, faults, clock] = await Promise.all([
      get('orders'),
      get('refunds'),
      get('transfers'),
      get(`requests?since=${Math.max(0, info.last_request - RECORDS_KEPT)}`),
      get(`deliveries?since=${Math.max(0, info.last_delivery - RECORDS_KEPT)}`),
      get('faults'),
      get('clock'),
    ]);
    if (buffer !== mine) {
      return; // a later fetch has begun
    }
    buffer = null;
    state.orders = new Map(orders.map((order) => [order.out_trade_no, order]));
    state.refunds = new Map(refunds.map((refund) => [refund.out_refund_no, refund]));
    state.transfers = new Map(transfers.map((transfer) => [transfer.out_bill_no, transfer]));
    state.requests = new Map(requests.slice(-RECORDS_KEPT).map((record) => [record.id, record]));
    state.deliveries = new Map(deliveries.slice(-RECORDS_KEPT).map((record) => [record.id, record]));
    state.selected = state.orders.has(state.selected) ? state.selected : (orders.at(-1)?.out_trade_no ?? null);
    setInfo(info);
    setFaults(faults);
    setClock(clock);
    mine.forEach(([kind, data]) => apply(kind, data));
  } catch {
    if (buffer === mine) {
      buffer = null; // the stream says when the sandbox is back
    }
  }
}

function planClock() {
  clockTimer ??= setTimeout(async () => {
    clockTimer = null;
    try {
      setClock(await get('clock'));
    } catch {
      // The next event asks again.
    }
  }, CLOCK_EVERY_MS);
}

function hear(kind, text) {
  const data = JSON.parse(text);
  if (kind === 'reset') {
    state.credentials.clear();
  }
  if (kind === 'reset' || kind === 'lag') {
    fetchAll();
    return;
  }
  if (buffer) {
    buffer.push([kind, data]);
  } else {
    apply(kind, data);
  }
  if (kind !== 'request' && kind !== 'faults') {
    planClock();
  }
}

export function connect() {
  source = new EventSource('/sandbox/events');
  source.onopen = () => {
    state.live = 'live';
    changed();
    fetchAll();
  };
  source.onerror = () => {
    state.live = 'lost';
    changed();
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(connect, RECONNECT_MS);
    }
  };
  for (const kind of ['order', 'refund', 'transfer', 'request', 'delivery', 'faults', 'state', 'reset', 'lag']) {
    source.addEventListener(kind, (event) => hear(kind, event.data));
  }
}
