// One call of the function, and what its answer says.

const { language } = require('./words')

const TIMEOUT = 30000 // ms; the function itself ends after 20 s

/**
 * Calls an action. Always resolves, to {kind, status, msg, data}:
 *   done     carried out; `data` is WeChat Pay's object
 *   refused  the function or WeChat Pay said no (4xx), and nothing happened
 *   unknown  no answer, one that is not the function's, or one that does not tell what happened: a 5xx, or a 4xx
 *            whose `outcome` says so (nobody signed it, or it refuses the repetition of a try whose answer got lost)
 * `msg` is the function's own text. The platform adds the user's openid; none is sent from here.
 */
function call(action, data) {
  const { envId, functionName } = getApp().globalData
  return new Promise((resolve) => {
    wx.cloud.callHTTPFunction({
      name: functionName,
      config: { env: envId },
      method: 'POST',
      path: `/wx-pay/${action}`,
      header: { 'Content-Type': 'application/json', 'Accept-Language': language },
      data,
      timeout: TIMEOUT,
      success: ({ statusCode, data: body }) => resolve(read(statusCode, parsed(body))),
      fail: ({ errMsg }) => resolve({ kind: 'unknown', status: 0, msg: errMsg, data: null }),
    })
  })
}

function read(status, body) {
  const isOurs = Boolean(body) && typeof body.msg === 'string'
  if (isOurs && status >= 200 && status < 300 && body.code === 0) {
    return { kind: 'done', status, msg: body.msg, data: body.data.data }
  }
  const refused = isOurs && status >= 400 && status < 500 && body.outcome !== 'unknown'
  const msg = isOurs ? body.msg : `HTTP ${status}`
  return { kind: refused ? 'refused' : 'unknown', status, msg, data: null }
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

module.exports = { call }
