// What must be right before anything can be called.

const { SDKVersion } = require('./base')
const { words } = require('./words')

const BASE_LIBRARY = '3.15.2' // the first with wx.cloud.callHTTPFunction

/** Why nothing can be called, in the user's language; '' when all is well. */
function problemOf(envId, functionName) {
  if (isOlder(SDKVersion, BASE_LIBRARY) || !wx.cloud || typeof wx.cloud.callHTTPFunction !== 'function') {
    return words.oldBaseLibrary(SDKVersion, BASE_LIBRARY)
  }
  if (isPlaceholder(envId)) return words.notSet('ENV_ID', words.whereEnvId)
  if (isPlaceholder(functionName)) return words.notSet('FUNCTION_NAME', words.whereFunctionName)
  return ''
}

function show(problem) {
  wx.showModal({ title: words.notReady, content: problem, showCancel: false })
}

function isOlder(version, wanted) {
  const [have, need] = [version, wanted].map((text) => text.split('.').map(Number))
  const at = need.findIndex((part, index) => have[index] !== part)
  return at >= 0 && !(have[at] > need[at])
}

function isPlaceholder(value) {
  return !value || value.startsWith('your-')
}

module.exports = { problemOf, show }
