'use strict'
// A phone with a mini program, driven by JSON lines: {"do": name, ...} in, {"ok": value} or {"error": text} out.

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const vm = require('node:vm')
const { makeWx } = require('./wx.cjs')
const { parse, render } = require('./wxml.cjs')

const tick = () => new Promise((resolve) => setImmediate(resolve))

const phone = {
  settings: {}, // set by `begin`
  env: '',
  will: [], // what the user does at the next payment sheets
  modals: [], // and whether he confirms the next dialogs; without one he does
  lost: [], // paths whose next answer gets lost
  storage: {},
  calls: [],
  shown: [],
  sheets: [],
  screens: [], // every text that the page showed after a setData
  problems: [], // slips of the page that a user may not notice
  pending: 0,
  busy(promise) {
    phone.pending += 1
    const end = () => {
      phone.pending -= 1
    }
    promise.then(end, end)
    return promise
  },
  run(work) {
    try {
      return work()
    } catch (error) {
      phone.problems.push(`thrown: ${error && error.stack}`)
      return undefined
    }
  },
  async idle() {
    do {
      for (let turn = 0; turn < 5; turn += 1) await tick()
    } while (phone.pending)
  },
}
process.on('unhandledRejection', (reason) => {
  phone.problems.push(`unhandled: ${(reason && (reason.stack || reason.errMsg)) || JSON.stringify(reason)}`)
})

let screen = null // {page, wxml}

// What mini programs have beside the language itself, which a fresh context brings.
function globals() {
  const quiet = (...words) => {
    phone.log = [...(phone.log || []), words.map(String).join(' ')]
  }
  return vm.createContext({
    wx: makeWx(phone),
    console: { log: quiet, info: quiet, warn: quiet, error: quiet },
    setTimeout: (work, delay = 0, ...rest) => {
      let end
      phone.busy(new Promise((resolve) => (end = resolve)))
      return setTimeout(() => (phone.run(() => work(...rest)), end()), delay / phone.settings.haste)
    },
  })
}

function program(folder) {
  const context = globals()
  const modules = {}
  const load = (file) => {
    if (!file.startsWith(folder + path.sep)) throw new Error(`${file} is not in the mini program`)
    if (!modules[file]) {
      modules[file] = { exports: {} }
      const wrapped = `(function (require, module, exports) {${fs.readFileSync(file, 'utf8')}\n})`
      const require = (name) => load(path.resolve(path.dirname(file), name.endsWith('.js') ? name : `${name}.js`))
      vm.runInContext(wrapped, context, { filename: file })(require, modules[file], modules[file].exports)
    }
    return modules[file].exports
  }
  return { context, load }
}

function launch(folder) {
  const { context, load } = program(folder)
  let app = null
  let options = null
  Object.assign(context, { App: (given) => (app = given), getApp: () => app, Page: (given) => (options = given) })
  phone.env = ''
  load(path.join(folder, 'app.js'))
  if (app.onLaunch) phone.run(() => app.onLaunch({}))
  const [first] = JSON.parse(fs.readFileSync(path.join(folder, 'app.json'), 'utf8')).pages
  load(path.join(folder, `${first}.js`))
  const page = { ...options, data: JSON.parse(JSON.stringify(options.data)) }
  page.setData = (changed, callback) => {
    for (const [key, value] of Object.entries(changed)) {
      if (value === undefined) phone.problems.push(`setData: ${key} is undefined`)
      if (!/^\w+$/.test(key)) throw new Error(`the stand-in sets no paths such as ${key}`)
      page.data[key] = value === undefined ? undefined : JSON.parse(JSON.stringify(value))
    }
    phone.screens.push(text())
    if (callback) phone.run(callback)
  }
  screen = { page, wxml: parse(fs.readFileSync(path.join(folder, `${first}.wxml`), 'utf8')) }
  if (page.onLoad) act('onLoad', {})
  if (page.onShow) act('onShow', {})
}

function act(handler, event) {
  const { page } = screen
  if (typeof page[handler] !== 'function') throw new Error(`the page has no ${handler}`)
  const returned = phone.run(() => page[handler](event))
  if (returned && typeof returned.then === 'function') {
    phone.busy(returned.then(undefined, (error) => phone.problems.push(`${handler} rejected: ${error && error.stack}`)))
  }
}

function elements() {
  const unknown = (name) => phone.problems.push(`WXML: no ${name} in data`)
  return render(screen.wxml, screen.page.data, unknown)
}

// The page as its reader sees it: one line an element that holds text of its own, buttons and inputs marked.
function text() {
  return elements()
    .map(({ tag, attributes, text: words }) => {
      if (tag === 'button') return `(${words}${attributes.disabled ? ' -' : ''})`
      if (tag === 'input') return `[${attributes.value}${attributes.disabled ? ' -' : ''}]`
      return tag === 'text' ? words : ''
    })
    .filter(Boolean)
    .join('\n')
}

function find(what, wanted, candidates) {
  if (candidates.length !== 1) throw new Error(`${candidates.length} ${what} for ${wanted} in:\n${text()}`)
  if (candidates[0].attributes.disabled) throw new Error(`${wanted} is disabled in:\n${text()}`)
  return candidates[0]
}

function dataset(attributes) {
  const data = Object.entries(attributes).filter(([name]) => name.startsWith('data-'))
  return Object.fromEntries(data.map(([name, value]) => [name.slice(5), value]))
}

const deeds = {
  begin({ settings }) {
    phone.settings = settings
  },
  async launch({ folder }) {
    launch(folder)
    await phone.idle()
  },
  // `times` taps within one turn of the event loop; `wait: false` returns while the page is still at work.
  async tap({ label, times = 1, wait = true }) {
    const tappable = elements().filter(({ attributes }) => attributes.bindtap)
    const { attributes } = find('things to tap', label, tappable.filter((element) => element.text === label))
    for (let tap = 0; tap < times; tap += 1) {
      act(attributes.bindtap, { currentTarget: { dataset: dataset(attributes) }, detail: {} })
    }
    if (wait) await phone.idle()
  },
  async enter({ handler, value }) {
    const inputs = elements().filter(({ attributes }) => attributes.bindinput === handler)
    find('inputs', handler, inputs)
    act(handler, { detail: { value } })
    await phone.idle()
  },
  // A handler by its name, with data set as if the page had got there.
  async act({ handler, data }) {
    screen.page.setData(data)
    act(handler, {})
    await phone.idle()
  },
  // A module that is no page, such as a WeDa method: `source` defines `method`.
  async invoke({ source, given, times = 1 }) {
    if (!phone.env) phone.env = phone.settings.env
    const context = globals()
    const method = vm.runInContext(`(function () {${source}\nreturn method })()`, context)
    const runs = Array.from({ length: times }, () => phone.busy(method(given)))
    const returned = await Promise.all(runs)
    await phone.idle()
    return returned
  },
  idle: () => phone.idle(),
  see: () => text(),
  set({ changes }) {
    const { settings, ...rest } = changes
    Object.assign(phone, rest)
    Object.assign(phone.settings, settings)
  },
  tell() {
    const { calls, shown, sheets, screens, problems, storage, log } = phone
    return { calls, shown, sheets, screens, problems, storage, log: log || [], data: screen && screen.page.data }
  },
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...options } = JSON.parse(line)
    let answer
    try {
      answer = { ok: (await deeds[name](options)) ?? null }
    } catch (error) {
      answer = { error: error.message || String(error) }
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`)
  }
}

main()
