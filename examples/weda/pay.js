// A WeDa page method: orders, opens the payment sheet, and tells what the server says of it. README.md says where to
// paste it. Parameters of the method, both optional: description (text), cents (integer, 20 is 0.20 yuan).

const ENV_ID = 'your-env-id'
const FUNCTION_NAME = 'your-function-name'

const KEPT = 'pay-common.weda.order' // kept until its end is known: never two orders for want of an answer
const PAUSES = [1000, 2000, 4000, 8000] // ms between queries while a payment is not confirmed
const STATES = {
  SUCCESS: 'paid',
  REFUND: 'paid',
  NOTPAY: 'open',
  USERPAYING: 'open',
  CLOSED: 'closed',
  REVOKED: 'closed',
  PAYERROR: 'closed',
}
const TEXTS = {
  paid: 'Paid',
  open: 'Not paid yet',
  closed: 'The order is closed',
  cancelled: 'Cancelled',
  failed: 'The payment failed',
  refused: 'Refused',
  unknown: 'Not known whether it was carried out: try again, it is asked for first',
}

let isBusy = false

/**
 * Resolves to {told, out_trade_no, msg}: `told` is a name in TEXTS, or 'busy' or 'not set up'. Has `former` as well, the
 * number of an order for something else that turned out to be paid, where this one took its place.
 */
export default async function ({ data }) {
  const problem = problemOf()
  if (problem) {
    wx.showModal({ title: 'Not set up yet', content: problem, showCancel: false })
    return { told: 'not set up', msg: problem }
  }
  if (isBusy) return { told: 'busy', msg: '' } // the second of two taps
  isBusy = true
  try {
    const outcome = await pay({ description: 'A cup of tea', cents: 20, ...(data && data.target) })
    wx.showModal({ title: TEXTS[outcome.told], content: outcome.msg, showCancel: false })
    return outcome
  } finally {
    isBusy = false
  }
}

function problemOf() {
  if (!wx.cloud || typeof wx.cloud.callHTTPFunction !== 'function') {
    return 'wx.cloud.callHTTPFunction needs base library 3.15.2: build the mini program with that or a higher one.'
  }
  if (ENV_ID.startsWith('your-')) return "Set ENV_ID in this method: your CloudBase environment's id."
  if (FUNCTION_NAME.startsWith('your-')) return "Set FUNCTION_NAME in this method: the pay-common function's name."
  return ''
}

async function pay({ description, cents }) {
  const { ends, same, former = '' } = await settled(wx.getStorageSync(KEPT) || null, description, cents)
  if (ends) return ends
  const order = same || { out_trade_no: await freshNumber(), description, cents, former }
  wx.setStorageSync(KEPT, order)
  // No payer.openid: the platform says who it is.
  const answer = await call('wxpay_order', {
    out_trade_no: order.out_trade_no,
    description,
    amount: { total: cents, currency: 'CNY' },
  })
  if (answer.told) return ended(order, answer)
  const { timeStamp, nonceStr, package: prepay, signType, paySign } = answer.data
  try {
    await wx.requestPayment({ timeStamp, nonceStr, package: prepay, signType, paySign })
  } catch (error) {
    if (/cancel/.test(error.errMsg)) return ended(order, { told: 'cancelled', msg: '' })
    const known = await ask(order) // it may have failed after the payment
    return ended(order, known.told === 'paid' ? known : { told: 'failed', msg: error.errMsg })
  }
  // Paid is what the server says.
  let known = await ask(order)
  for (const pause of PAUSES) {
    if (known.told !== 'open' && known.told !== 'unknown') break
    await new Promise((resolve) => setTimeout(resolve, pause))
    known = await ask(order)
  }
  return ended(order, known)
}

// What the kept order means for this purchase: it `ends` with being told, is ordered again as the `same`, or is a
// `former` one, for something else and paid. None of them: a new number is needed.
async function settled(order, description, cents) {
  if (!order) return {}
  const isSame = order.description === description && order.cents === cents
  const known = await ask(order)
  if (known.isMissing) return isSame ? { same: order } : {}
  if (known.told === 'refused' || known.told === 'unknown') return { ends: ended(order, known) }
  if (isSame) return known.told === 'open' ? { same: order } : { ends: ended(order, known) }
  if (known.told === 'open') {
    const closed = await call('wxpay_close_order', { out_trade_no: order.out_trade_no }) // or it might be paid as well
    if (closed.told) return { ends: ended(order, closed) }
  }
  return known.told === 'paid' ? { former: order.out_trade_no } : {}
}

// What is paid or closed is over; anything else goes on under its number the next time.
function ended({ out_trade_no, former }, { told, msg }) {
  if (told === 'paid' || told === 'closed') wx.removeStorageSync(KEPT)
  if (!former) return { told, out_trade_no, msg: msg || out_trade_no }
  return { told, out_trade_no, msg: `${msg || out_trade_no} (paid before, for something else: ${former})`, former }
}

async function ask({ out_trade_no }) {
  const answer = await call('wxpay_query_order_by_out_trade_no', { out_trade_no })
  return answer.told ? answer : { told: STATES[answer.data.trade_state] || 'unknown', msg: '' }
}

// Resolves to {data}, or to {told: 'refused' or 'unknown', msg, isMissing}.
function call(action, data) {
  return new Promise((resolve) => {
    wx.cloud.callHTTPFunction({
      name: FUNCTION_NAME,
      config: { env: ENV_ID },
      method: 'POST',
      path: `/wx-pay/${action}`,
      header: { 'Content-Type': 'application/json' },
      data,
      timeout: 30000,
      success: ({ statusCode, data: body }) => resolve(read(statusCode, parsed(body))),
      fail: ({ errMsg }) => resolve({ told: 'unknown', msg: errMsg, isMissing: false }),
    })
  })
}

function read(status, body) {
  const isOurs = Boolean(body) && typeof body.msg === 'string'
  if (isOurs && status >= 200 && status < 300 && body.code === 0) return { data: body.data.data }
  // A 4xx may leave it unknown too: nobody signed it, or it refuses a repetition after an answer that got lost.
  const refused = isOurs && status >= 400 && status < 500 && body.outcome !== 'unknown'
  const msg = isOurs ? body.msg : `HTTP ${status}: check ENV_ID and FUNCTION_NAME`
  return { told: refused ? 'refused' : 'unknown', msg, isMissing: refused && status === 404 }
}

// The body arrives as an object, or as its text.
function parsed(body) {
  if (typeof body !== 'string') return body
  try {
    return JSON.parse(body)
  } catch (error) {
    return null
  }
}

// The time and 12 random characters, at most 32 of [A-Za-z0-9_-]; nobody may guess another's order.
function freshNumber() {
  const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'
  return new Promise((resolve, reject) => {
    wx.getRandomValues({
      length: 12,
      success: ({ randomValues }) => {
        const letters = Array.from(new Uint8Array(randomValues), (byte) => alphabet[byte % 32])
        resolve('WD' + new Date().toISOString().replace(/\D/g, '').slice(0, 14) + letters.join(''))
      },
      fail: reject,
    })
  })
}
