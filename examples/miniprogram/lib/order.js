// The one order that is under way: kept on the phone from before it is sent until its end is known, so that an
// answer that got lost, or a mini program that was closed, never makes two orders of one.

const { call } = require('./pay-common')
const { fresh } = require('./numbers')

const KEPT = 'pay-common.order'
const PAUSES = [1000, 2000, 4000, 8000] // ms between queries while a payment is not confirmed
const WAIT = 10 // seconds that the function waits for the callback
// WeChat Pay's words and those of the function's order database.
const PAID = ['SUCCESS', 'PAID', 'REFUND', 'PARTIALLY_REFUNDED']
const OVER = ['CLOSED', 'REVOKED', 'PAYERROR']

let hasDatabase = true // until the function says that it has none

/**
 * The order: {out_trade_no, description, cents, state, refund, former}; null when there is none. `former` is the number
 * of an order for something else that turned out to be paid when this one took its place, else empty.
 */
function kept() {
  return wx.getStorageSync(KEPT) || null
}

function keep(order, changes) {
  Object.assign(order, changes)
  wx.setStorageSync(KEPT, order)
  return order
}

function forget() {
  wx.removeStorageSync(KEPT)
}

const isPaid = (order) => PAID.includes(order.state)
const isOver = (order) => isPaid(order) || OVER.includes(order.state)
const isRefused = (order) => order.state === 'REFUSED'
const isRefundOpen = ({ refund }) => Boolean(refund) && ['SENT', 'REFUSED'].includes(refund.state)
const isMissing = ({ told, answer }) => told === 'refused' && answer.status === 404

/**
 * Orders and opens the payment sheet; goes on with the order that is kept, if it is for the same. Resolves to
 * {order, told, answer}:
 *   asked                   `order.state` is what the server says
 *   cancelled, failed       what happened on the sheet; the order is still open
 *   unconfirmed             the sheet said ok, and the server does not say so yet
 *   refused, unknown        the function's `answer`, see pay-common.js
 */
async function pay(description, cents) {
  const { ends, same, former = '' } = kept() ? await settled(kept(), description, cents) : {}
  if (ends) return ends
  const order = same || { out_trade_no: await fresh('MP'), description, cents, refund: null, former }
  keep(order, { state: 'SENT' })
  const answer = await call('wxpay_order', {
    out_trade_no: order.out_trade_no,
    description: order.description,
    amount: { total: order.cents, currency: 'CNY' },
  })
  if (answer.kind === 'refused') keep(order, { state: 'REFUSED' })
  if (answer.kind !== 'done') return { order, told: answer.kind, answer }
  keep(order, { state: 'NOTPAY' })
  return sheet(order, answer.data)
}

/**
 * What the kept order means for the next purchase. It may be paid, or not have arrived at all, so it is asked for:
 *   ends    it has to be told instead; nothing may be ordered now
 *   same    it is for the same, and can be paid: order it again under its number
 *   former  it is for something else, and is paid: its number, beside which a new one is needed
 * None of them: a new number is needed.
 */
async function settled(order, description, cents) {
  const isSame = order.description === description && order.cents === cents
  const known = await ask(order)
  if (isMissing(known)) return isSame ? { same: order } : {}
  if (known.told !== 'asked') return { ends: known }
  if (isSame) return isOver(order) ? { ends: known } : { same: order }
  if (!isOver(order)) {
    const closed = await close(order) // or it might be paid as well
    if (!isOver(order)) return { ends: closed }
  }
  return isPaid(order) ? { former: order.out_trade_no } : {}
}

async function sheet(order, { timeStamp, nonceStr, package: prepay, signType, paySign }) {
  try {
    await wx.requestPayment({ timeStamp, nonceStr, package: prepay, signType, paySign })
  } catch (error) {
    if (/cancel/.test(error.errMsg)) return { order, told: 'cancelled' }
    // A sheet that failed may have failed after the payment.
    await ask(order)
    return isOver(order) ? { order, told: 'asked' } : { order, told: 'failed', answer: { msg: error.errMsg } }
  }
  return result(order)
}

/** What became of a payment, once the sheet says ok: by the callback, or by asking until it is known. */
async function result(order) {
  if (hasDatabase) {
    const answer = await call('wxpay_order_wait', { out_trade_no: order.out_trade_no, seconds: WAIT })
    if (answer.kind === 'done' && answer.data.state !== 'PENDING') {
      return { order: keep(order, { state: answer.data.state }), told: 'asked' }
    }
    hasDatabase = !/orderDatabaseUrl/.test(answer.msg)
  }
  await ask(order)
  for (const pause of PAUSES) {
    if (isOver(order)) break
    await new Promise((resolve) => setTimeout(resolve, pause))
    await ask(order)
  }
  return { order, told: isOver(order) ? 'asked' : 'unconfirmed' }
}

/** The order as WeChat Pay has it. */
async function ask(order) {
  const answer = await call('wxpay_query_order_by_out_trade_no', { out_trade_no: order.out_trade_no })
  if (answer.kind !== 'done') return { order, told: answer.kind, answer }
  return { order: keep(order, { state: answer.data.trade_state }), told: 'asked' }
}

/** Closes an unpaid order; one that has been paid after all is told as paid. */
async function close(order) {
  const answer = await call('wxpay_close_order', { out_trade_no: order.out_trade_no })
  if (answer.kind === 'done') return { order: keep(order, { state: 'CLOSED' }), told: 'asked' }
  await ask(order)
  return isOver(order) ? { order, told: 'asked' } : { order, told: answer.kind, answer }
}

/**
 * Refunds `cents` of a paid order; the function lets operators only. A refund whose outcome is not known is asked
 * for first, and sent again under its own number: never a second refund for want of an answer.
 */
async function refund(order, cents) {
  if (isRefundOpen(order)) {
    const known = await askRefund(order)
    if (!isMissing(known)) return known
  }
  const again = order.refund && order.refund.state === 'SENT'
  const { out_refund_no, cents: sum } = again ? order.refund : { out_refund_no: await fresh('RF'), cents }
  keepRefund(order, { out_refund_no, cents: sum, state: 'SENT' })
  const answer = await call('wxpay_refund', {
    out_trade_no: order.out_trade_no,
    out_refund_no,
    amount: { refund: sum, total: order.cents, currency: 'CNY' },
  })
  if (answer.kind === 'done') return keepRefund(order, { state: answer.data.status })
  if (answer.kind === 'refused') keepRefund(order, { state: 'REFUSED' })
  return { order, told: answer.kind, answer }
}

/** The last refund as WeChat Pay has it. */
async function askRefund(order) {
  const answer = await call('wxpay_refund_query', { out_refund_no: order.refund.out_refund_no })
  if (answer.kind !== 'done') return { order, told: answer.kind, answer }
  return keepRefund(order, { state: answer.data.status })
}

function keepRefund(order, changes) {
  return { order: keep(order, { refund: { ...order.refund, ...changes } }), told: 'asked' }
}

module.exports = { kept, forget, isPaid, isOver, isRefused, pay, ask, close, refund, askRefund }
