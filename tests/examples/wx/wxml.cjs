'use strict'
// What a page shows: its WXML with its data. Enough for pages of text, buttons and inputs: no wx:for, no components.

const HOLE = /\{\{(.*?)\}\}/gs
const PIECE = /<!--.*?-->|<(\/?)([\w-]+)((?:\s+[\w:-]+(?:\s*=\s*"[^"]*")?)*)\s*(\/?)>|[^<]+/gs
const ATTRIBUTE = /([\w:-]+)(?:\s*=\s*"([^"]*)")?/g

function parse(text) {
  const root = { tag: 'page', attributes: {}, children: [] }
  const open = [root]
  let read = 0
  for (const piece of text.matchAll(PIECE)) {
    if (piece.index !== read) throw new Error(`WXML: cannot read ${text.slice(read, read + 40)}`)
    read += piece[0].length
    const [whole, closing, tag, attributes, empty] = piece
    if (whole.startsWith('<!--')) continue
    const within = open[open.length - 1]
    if (!tag) {
      if (whole.trim()) within.children.push(whole.trim())
    } else if (closing) {
      if (within.tag !== tag) throw new Error(`WXML: </${tag}> closes <${within.tag}>`)
      open.pop()
    } else {
      const element = { tag, attributes: {}, children: [] }
      for (const [, name, value] of attributes.matchAll(ATTRIBUTE)) element.attributes[name] = value ?? true
      within.children.push(element)
      if (!empty) open.push(element)
    }
  }
  if (read !== text.length || open.length > 1) throw new Error(`WXML: <${open[open.length - 1].tag}> is not closed`)
  return root
}

// WXML reads an unknown name as undefined; `unknown` is told of it, because it is a slip in most cases.
function evaluate(expression, data, unknown) {
  const scope = new Proxy(data, {
    has: (_, name) => typeof name === 'string',
    get(target, name) {
      if (typeof name === 'string' && !(name in target)) unknown(name)
      return target[name]
    },
  })
  return new Function('scope', `with (scope) { return (${expression}) }`)(scope)
}

function fill(text, data, unknown) {
  if (text === true) return true
  const only = /^\{\{([^}]*)\}\}$/s.exec(text)
  if (only) return evaluate(only[1], data, unknown)
  return text.replace(HOLE, (_, expression) => String(evaluate(expression, data, unknown) ?? ''))
}

// The elements that are to be seen, in their order: {tag, attributes (filled), text}; a text's element holds it too.
function render(root, data, unknown) {
  const seen = []
  const walk = (element) => {
    const texts = []
    let taken = false // whether a branch of the present wx:if chain has been shown
    for (const child of element.children) {
      if (typeof child === 'string') {
        texts.push(fill(child, data, unknown))
        continue
      }
      const { attributes } = child
      if ('wx:if' in attributes) {
        taken = Boolean(fill(attributes['wx:if'], data, unknown))
        if (!taken) continue
      } else if ('wx:elif' in attributes || 'wx:else' in attributes) {
        if (taken || ('wx:elif' in attributes && !fill(attributes['wx:elif'], data, unknown))) continue
        taken = true
      }
      const filled = {}
      for (const [name, value] of Object.entries(attributes)) filled[name] = fill(value, data, unknown)
      if (filled.hidden) continue
      const shown = { tag: child.tag, attributes: filled, text: '' }
      seen.push(shown)
      shown.text = walk(child)
      texts.push(shown.text)
    }
    return texts.filter(Boolean).join(' ')
  }
  walk(root)
  return seen
}

module.exports = { parse, render }
