'use strict';
/*
 * services/orderService.js of the function that the Integration Center generated: it hands each notification on to
 * pay-common for Python and says SUCCESS only if that one did. README.md beside this file says how to install it.
 *
 * What it sends is a hint: our function asks WeChat Pay before it believes it. So nothing here has to be trusted. The
 * operator's key is optional: it only keeps the hint from waiting behind those of strangers.
 */

const URL_NAME = 'PAY_URL';
const BUDGET = 4000; // milliseconds for all tries: WeChat Pay waits 5 s, and the Integration Center's hop needs some
const PAUSE = 300; // before the second try; twice as long before each further one
const LEAST = 500; // what a try needs at least

/** Where a notification goes: PAY_URL as it is for the API gateway (?webfn=true), else with the path of its kind. */
function address(path) {
  let url;
  try {
    url = new URL(process.env[URL_NAME] || '');
  } catch {
    throw new Error(`${URL_NAME} must be the URL of pay-common for Python, such as https://pay.shop.example`);
  }
  if (url.protocol !== 'https:' && url.hostname !== '127.0.0.1') {
    throw new Error(`${URL_NAME} must begin with https://`);
  }
  if (!url.searchParams.has('webfn')) url.pathname = url.pathname.replace(/\/+$/, '') + path;
  return url;
}

/** One try: what pay-common answered, as {status, code}. Rejects when it did not answer in time. */
async function post(url, body, milliseconds) {
  const headers = { 'Content-Type': 'application/json' };
  if (process.env.CLOUDBASE_APIKEY) headers.Authorization = `Bearer ${process.env.CLOUDBASE_APIKEY}`;
  const signal = AbortSignal.timeout(milliseconds);
  const answer = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'error' });
  const text = await answer.text();
  try {
    return { status: answer.status, code: JSON.parse(text).code };
  } catch {
    return { status: answer.status, code: 'no JSON' };
  }
}

/** Try until pay-common has kept it, has refused it, or the time is over; null once it has kept it, else why not. */
async function delivered(url, body) {
  const end = Date.now() + BUDGET;
  for (let pause = PAUSE; ; pause *= 2) {
    let problem;
    try {
      const { status, code } = await post(url, body, end - Date.now());
      if (status === 200 && code === 'SUCCESS') return null;
      problem = `HTTP ${status} ${code}`;
      // Refused; what a gateway says while a function starts or is busy is no refusal.
      if (status < 500 && status !== 408 && status !== 429) return problem;
    } catch (error) {
      problem = `no answer (${error.cause?.code || error.name})`;
    }
    if (Date.now() + pause + LEAST > end) return problem;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Hand one notification on. Rejects unless pay-common kept it: the generated function logs that, or, changed as
 * README.md says, answers FAIL, so that WeChat Pay delivers again.
 */
async function forward(path, eventType, number, params) {
  const url = address(path);
  const body = { ParsedContent: params, ParsedNotify: { event_type: eventType } };
  if (process.env.PAY_OPERATOR_KEY) body._operatorKey = process.env.PAY_OPERATOR_KEY;
  const named = JSON.stringify(number);
  const problem = await delivered(url, JSON.stringify(body));
  if (problem) {
    throw new Error(`${eventType} of ${named} was not kept by pay-common: ${problem}; wxpay_reconcile will find it`);
  }
  console.info(`[relay] ${eventType} of ${named} was kept`);
  return { code: 'SUCCESS' };
}

class OrderService {
  /** A payment. */
  async handlerUnifiedTrigger(params) {
    return forward('/wechatpay/order', 'TRANSACTION.SUCCESS', params.out_trade_no, params);
  }

  /** A refund has ended: refund_status is SUCCESS, CLOSED or ABNORMAL. */
  async handlerRefundTrigger(params) {
    return forward('/wechatpay/refund', `REFUND.${params.refund_status}`, params.out_refund_no, params);
  }

  /** A transfer has ended. */
  async handlerTransferTrigger(params) {
    return forward('/wechatpay/transfer', 'MCHTRANSFER.BILL.FINISHED', params.out_bill_no, params);
  }

  // Orders, refunds and transfers that are placed here, past pay-common, would be unknown there.
  async handlerUnified() {
    return elsewhere('handlerUnified');
  }

  async handlerRefund() {
    return elsewhere('handlerRefund');
  }

  async handlerTransfer() {
    return elsewhere('handlerTransfer');
  }
}

function elsewhere(method) {
  console.warn(`[relay] ${method}: this was placed at the relay; place it at pay-common for Python, which keeps it`);
  return true;
}

module.exports = OrderService;
