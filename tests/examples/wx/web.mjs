// The original's web page without its React: `request` and the numbers of src/utils/api.js, as its App.jsx uses them.
// node web.mjs SRC BASE-URL; JSON lines {"path", "body"} in, the function's answer out. "NUMBER" and "REFUND" in a body
// stand for fresh ones.

import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const [source, baseUrl] = process.argv.slice(2)
console.log = () => {} // api.js writes its requests there
const api = await import(pathToFileURL(path.join(source, 'utils', 'api.js')).href)
const fresh = { NUMBER: api.generateOutTradeNo(), REFUND: api.generateRefundNo() }

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { path: route, body } = JSON.parse(line, (_, value) => fresh[value] ?? value)
  let answer
  try {
    answer = await api.request(baseUrl, route, body, 0)
  } catch (error) {
    answer = { thrown: String(error) }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
