// All texts, in English and Chinese; the phone's language chooses.

const { language: spoken } = require('./base')

const english = {
  notReady: 'Not set up yet',
  oldBaseLibrary: (have, need) =>
    `wx.cloud.callHTTPFunction needs base library ${need}, and this one is ${have}. Set libVersion in ` +
    `project.config.json to ${need} or higher, and update WeChat.`,
  notSet: (name, where) => `Set ${name} at the top of app.js: ${where}.`,
  whereEnvId: "your CloudBase environment's id, from the console's overview",
  whereFunctionName: 'the name of the pay-common function in that environment',
  amount: 'The amount is in yuan, above 0, with at most two decimals, such as 0.20.',
  refused: (status, msg) => `Refused (${status}): ${msg}`,
  unknown: (msg) =>
    `It is not known whether this was carried out (${msg}). Try again: it is asked for first, and goes on under ` +
    'the same number.',
  cancelled: 'Cancelled. The order is still open: pay it, or close it.',
  failed: (msg) => `The payment failed (${msg}). The order is still open: pay it, or close it.`,
  unconfirmed: 'WeChat Pay has not confirmed the payment yet. Query it in a moment.',
  former: (number) => `Order ${number}, for something else, is paid too.`,
  confirmClose: (number) => `Close order ${number}? It cannot be paid any more then.`,
  confirmRefund: (yuan) => `Refund ¥${yuan}?`,
  states: {
    SENT: 'Sent, not answered yet',
    REFUSED: 'Not placed',
    NOTPAY: 'Not paid',
    USERPAYING: 'Being paid',
    SUCCESS: 'Paid',
    PAID: 'Paid',
    REFUND: 'Paid, refunded in whole or in part',
    PARTIALLY_REFUNDED: 'Paid, refunded in part',
    CLOSED: 'Closed',
    REVOKED: 'Revoked',
    PAYERROR: 'Payment failed',
  },
  refundStates: {
    SENT: 'Sent, not answered yet',
    REFUSED: 'Not made',
    PROCESSING: 'Under way',
    SUCCESS: 'Refunded',
    CLOSED: 'Closed: nothing was refunded',
    ABNORMAL: 'Stuck: see the merchant platform',
  },
  page: {
    description: 'Description',
    amount: 'Amount in yuan',
    order: 'Order',
    pay: 'Pay',
    query: 'Query',
    close: 'Close',
    another: 'Another order',
    operator: 'For operators',
    operatorNote: 'The function decides who is one.',
    refundAmount: 'Refund in yuan',
    refund: 'Refund',
    queryRefund: 'Query refund',
  },
}

const chinese = {
  notReady: '尚未配置完成',
  oldBaseLibrary: (have, need) =>
    `wx.cloud.callHTTPFunction 需要基础库 ${need}，当前为 ${have}。请把 project.config.json 的 libVersion 设为 ${need} ` +
    '或更高，并更新微信。',
  notSet: (name, where) => `请在 app.js 顶部填写 ${name}：${where}。`,
  whereEnvId: '云开发环境 ID，见控制台概览',
  whereFunctionName: '该环境中 pay-common 函数的名称',
  amount: '金额以元为单位，须大于 0，最多两位小数，例如 0.20。',
  refused: (status, msg) => `被拒绝（${status}）：${msg}`,
  unknown: (msg) => `尚不知道是否已执行（${msg}）。请重试：会先查询，再以同一单号继续。`,
  cancelled: '已取消。订单仍未支付：可继续支付，或关闭订单。',
  failed: (msg) => `支付失败（${msg}）。订单仍未支付：可继续支付，或关闭订单。`,
  unconfirmed: '微信支付尚未确认这笔付款，请稍后查询。',
  former: (number) => `此前的另一笔订单 ${number} 也已支付。`,
  confirmClose: (number) => `关闭订单 ${number}？关闭后不能再支付。`,
  confirmRefund: (yuan) => `退款 ¥${yuan}？`,
  states: {
    SENT: '已发出，尚无应答',
    REFUSED: '未下单',
    NOTPAY: '未支付',
    USERPAYING: '支付中',
    SUCCESS: '已支付',
    PAID: '已支付',
    REFUND: '已支付，已全部或部分退款',
    PARTIALLY_REFUNDED: '已支付，已部分退款',
    CLOSED: '已关闭',
    REVOKED: '已撤销',
    PAYERROR: '支付失败',
  },
  refundStates: {
    SENT: '已发出，尚无应答',
    REFUSED: '未退款',
    PROCESSING: '退款处理中',
    SUCCESS: '已退款',
    CLOSED: '退款已关闭，未退款',
    ABNORMAL: '退款异常，请到商户平台处理',
  },
  page: {
    description: '商品描述',
    amount: '金额（元）',
    order: '订单',
    pay: '支付',
    query: '查询',
    close: '关闭订单',
    another: '再下一单',
    operator: '操作员',
    operatorNote: '是否为操作员由函数判断。',
    refundAmount: '退款金额（元）',
    refund: '退款',
    queryRefund: '查询退款',
  },
}

const language = spoken.startsWith('zh') ? 'zh-CN' : 'en'

module.exports = { language, words: language === 'en' ? english : chinese }
