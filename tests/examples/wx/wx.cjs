'use strict'
// A phone's `wx`: calls reach the function over HTTP as the platform sends them, payments reach the sandbox.
// What is known of the real ones is in the docstring of tests/examples/phone.py.

const crypto = require('node:crypto')
const http = require('node:http')

const PAY_FIELDS = ['timeStamp', 'nonceStr', 'package', 'signType', 'paySign']

// POST; resolves to {status, headers, text}, rejects when there is no answer.
function post(url, headers, body, timeout) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', headers, agent: false }, (answer) => {
      const chunks = []
      answer.on('data', (chunk) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () =>
        resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(chunks).toString() }))
    })
    request.setTimeout(timeout, () => request.destroy(new Error('timeout')))
    request.on('error', reject)
    request.end(body)
  })
}

// `phone` has the settings (openid, appId, ...), how the user acts (`will`, `modals`), and keeps `calls`, `shown`.
function makeWx(phone) {
  // As wx does: with a callback it calls back, without one it returns a promise.
  const operation = (name, work) => (options = {}) => {
    const { success, fail, complete } = options
    const done = phone.busy(
      Promise.resolve()
        .then(() => work(options))
        .then(
          (result) => ({ ok: true, value: { errMsg: `${name}:ok`, ...result } }),
          (error) => ({ ok: false, value: { errMsg: `${name}:fail ${error.message}` } }),
        ),
    )
    if (!success && !fail && !complete) {
      return done.then(({ ok, value }) => (ok ? value : Promise.reject(value)))
    }
    done.then(({ ok, value }) => {
      const callback = ok ? success : fail
      if (callback) phone.run(() => callback(value))
      if (complete) phone.run(() => complete(value))
    })
    return undefined
  }
  const show = (kind) => ({ success, fail, complete, ...options }) => {
    phone.shown.push({ kind, ...options })
    if (kind !== 'modal') return {}
    const confirm = options.showCancel === false || (phone.modals.length ? phone.modals.shift() : true)
    return { confirm, cancel: !confirm }
  }

  async function send(name, options, addressed, client) {
    const { path = '/', method = 'POST', data, header = {}, config = {}, timeout = 60000 } = options
    if (!phone.env) throw new Error('call wx.cloud.init first')
    const record = { api: name, path, data, header, status: 0 }
    phone.calls.push(record)
    if ((config.env || phone.env) !== phone.settings.env) throw new Error(`no such environment: ${config.env}`)
    if (method !== 'POST') throw new Error(`the stand-in sends POST, not ${method}`)
    if (addressed !== phone.settings.function) {
      const text = { code: 'FUNCTION_NOT_FOUND', message: `no function ${addressed}` }
      return { statusCode: 404, header: {}, data: text }
    }
    const sent = { 'content-type': 'application/json' }
    for (const [key, value] of Object.entries(header)) {
      // The platform's names are the platform's; x-wx-service only addresses a container.
      if (!key.toLowerCase().startsWith('x-wx-')) sent[key.toLowerCase()] = String(value)
    }
    sent['x-wx-source'] = client
    sent['x-wx-openid'] = phone.settings.openid
    sent['x-wx-appid'] = phone.settings.appId
    const body = typeof data === 'string' ? data : JSON.stringify(data)
    const answer = await post(phone.settings.url + path, sent, body, timeout)
    record.status = answer.status
    record.answer = answer.text
    if (phone.lost.includes(path)) {
      phone.lost.splice(phone.lost.indexOf(path), 1)
      throw new Error('the answer got lost')
    }
    return { statusCode: answer.status, header: answer.headers, data: received(answer.text) }
  }

  function received(text) {
    if (phone.settings.bodies === 'text') return text
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }

  async function control(path, body) {
    const answer = await post(`${phone.settings.sandbox}/sandbox/${path}`, {}, JSON.stringify(body), 30000)
    const made = JSON.parse(answer.text)
    if (answer.status !== 200) throw new Error(made.error)
    return made
  }

  // WeChat checks the signature over these five lines [4012791898], opens the sheet, and the user does as he will.
  async function requestPayment(options) {
    const given = {}
    for (const name of PAY_FIELDS) {
      if (typeof options[name] !== 'string') throw new Error(`parameter ${name} should be a String`)
      given[name] = options[name]
    }
    phone.calls.push({ api: 'requestPayment', data: given })
    const message = [phone.settings.appId, given.timeStamp, given.nonceStr, given.package, ''].join('\n')
    const signature = Buffer.from(given.paySign, 'base64')
    if (!crypto.verify('RSA-SHA256', Buffer.from(message), phone.settings.merchantKey, signature)) {
      throw new Error('支付验证签名失败')
    }
    const sheet = await control('phone/open', { jsapi: given, openid: phone.settings.openid })
    phone.sheets.push(sheet)
    const { does = 'pay', says, ...manner } = phone.will.shift() || {}
    const order = `orders/${encodeURIComponent(sheet.number)}`
    if (does === 'pay') await control(`${order}/pay`, manner)
    if (does === 'fail') await control(`${order}/fail`, {})
    const said = says || { pay: 'ok', cancel: 'cancel', fail: '支付失败', nothing: 'ok' }[does]
    if (said !== 'ok') throw new Error(said)
    return {}
  }

  async function requestMerchantTransfer({ mchId, appId, package: packageInfo }) {
    phone.calls.push({ api: 'requestMerchantTransfer', data: { mchId, appId, package: packageInfo } })
    if (mchId !== phone.settings.merchantId || appId !== phone.settings.appId) throw new Error('mchId or appId is wrong')
    phone.sheets.push(await control('phone/open', { package_info: packageInfo, openid: phone.settings.openid }))
    return {}
  }

  const cloud = {
    init({ env }) {
      phone.env = env
    },
    callHTTPFunction: operation('callHTTPFunction', (options) =>
      send('callHTTPFunction', options, options.name, phone.settings.source)),
    callContainer: operation('callContainer', (options) => {
      const service = Object.entries(options.header || {}).find(([name]) => name.toLowerCase() === 'x-wx-service')
      return send('callContainer', options, service && service[1], phone.settings.source)
    }),
  }
  for (const name of phone.settings.lacks) delete cloud[name]
  const base = { SDKVersion: phone.settings.baseLibrary, language: phone.settings.language }
  return {
    cloud,
    canIUse: (name) => name === 'requestMerchantTransfer',
    getAppBaseInfo: () => ({ ...base }),
    getSystemInfoSync: () => ({ ...base }),
    getAccountInfoSync: () => ({ miniProgram: { appId: phone.settings.appId, envVersion: 'develop' } }),
    getRandomValues: operation('getRandomValues', ({ length }) => ({
      randomValues: new Uint8Array(crypto.randomBytes(length)).buffer,
    })),
    getStorageSync: (key) => (key in phone.storage ? JSON.parse(phone.storage[key]) : ''),
    setStorageSync: (key, value) => {
      phone.storage[key] = JSON.stringify(value)
    },
    removeStorageSync: (key) => {
      delete phone.storage[key]
    },
    requestPayment: operation('requestPayment', requestPayment),
    requestMerchantTransfer: operation('requestMerchantTransfer', requestMerchantTransfer),
    setClipboardData: operation('setClipboardData', ({ data }) => {
      phone.shown.push({ kind: 'clipboard', data })
    }),
    showModal: operation('showModal', show('modal')),
    showToast: operation('showToast', show('toast')),
    showLoading: operation('showLoading', show('loading')),
    hideLoading: operation('hideLoading', () => ({})),
  }
}

module.exports = { makeWx }
