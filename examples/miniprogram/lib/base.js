// The base library's own facts: {SDKVersion, language, ...}. Old ones have the second call only.
module.exports = wx.getAppBaseInfo ? wx.getAppBaseInfo() : wx.getSystemInfoSync()
