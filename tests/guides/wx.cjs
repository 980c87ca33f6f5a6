'use strict'
// Runs a guide's mini program code under the stand-in `wx` of tests/examples/wx: a JSON object in, what happened out.
//
//   source    the code, for one context with App, getApp and wx; `run` is evaluated when it has been read
//   module    or an ES module, whose default export is called, as WeDa does
//   settings  of the phone, see tests/examples/phone.py; `will`: what the user does at the payment sheets
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const vm = require('node:vm')
const { pathToFileURL } = require('node:url')
const { makeWx } = require('../examples/wx/wx.cjs')

const given = JSON.parse(fs.readFileSync(0, 'utf8'))
const pending = new Set()
const phone = {
  settings: given.settings,
  env: '',
  will: given.will,
  modals: [],
  lost: [],
  storage: {},
  calls: [],
  shown: [],
  sheets: [],
  busy(promise) {
    pending.add(promise)
    promise.finally(() => pending.delete(promise))
    return promise
  },
  run: (work) => work(),
}
const wx = makeWx(phone)
const seen = { initialised: null, payments: [], printed: [], thrown: null }

// What the guides' code ignores is kept here: how the cloud was started, and what became of a payment.
const { init } = wx.cloud
wx.cloud.init = (options) => {
  seen.initialised = options
  init(options)
}
const { requestPayment } = wx
wx.requestPayment = ({ success, fail, ...parameters }) => {
  const said = (callback) => (result) => {
    seen.payments.push(result.errMsg)
    callback(result)
  }
  requestPayment({ ...parameters, success: said(success), fail: said(fail) })
}

async function inContext() {
  let app = null
  const text = (word) => (typeof word === 'string' ? word : JSON.stringify(word))
  const print = (...words) => seen.printed.push(words.map(text).join(' '))
  const context = vm.createContext({
    wx,
    console: { log: print, error: print },
    App: (options) => {
      app = options
      app.onLaunch()
    },
    getApp: () => app,
  })
  vm.runInContext(given.source, context)
  if (given.run) await vm.runInContext(given.run, context)
}

async function asModule() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'guide-'))
  const file = path.join(folder, 'method.mjs')
  fs.writeFileSync(file, given.module)
  globalThis.wx = wx
  wx.cloud.init({ env: given.settings.env }) // WeDa's own start
  try {
    await (await import(pathToFileURL(file))).default({ event: {}, data: {} })
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

;(given.module ? asModule() : inContext())
  .catch((error) => {
    seen.thrown = error.msg ? error : { message: error.message }
  })
  .then(async () => {
    while (pending.size) await Promise.all(pending)
    const { calls, shown, sheets } = phone
    process.stdout.write(JSON.stringify({ ...seen, calls, shown, sheets }))
  })
