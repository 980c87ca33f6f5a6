const orders = require('../../lib/order')
const { cents, yuan } = require('../../lib/money')
const setup = require('../../lib/setup')
const { words } = require('../../lib/words')

Page({
  data: {
    w: words.page,
    description: 'A cup of tea',
    amount: '0.20', // yuan, as typed
    order: null, // what is shown of it: number, amount, state
    isOver: false,
    isPaid: false,
    refundAmount: '',
    refund: null,
    message: '',
    isBusy: false,
  },

  onLoad() {
    const order = orders.kept()
    if (!order) return
    this.show({ order, told: 'asked' })
    if (!orders.isOver(order)) this.onQuery()
  },

  onDescription({ detail }) {
    this.setData({ description: detail.value })
  },

  onAmount({ detail }) {
    this.setData({ amount: detail.value })
  },

  onRefundAmount({ detail }) {
    this.setData({ refundAmount: detail.value })
  },

  // The amount comes from the page, because this is an example. The price is the merchant's: set `priceList`, or
  // before_unified of your order service, or anybody pays a cent.
  onPay() {
    return this.once(() => {
      const total = cents(this.data.amount)
      return total ? orders.pay(this.data.description, total) : { order: orders.kept(), told: 'amount' }
    })
  },

  onQuery() {
    return this.once(() => orders.ask(orders.kept()))
  },

  onClose() {
    return this.once(async () => {
      const order = orders.kept()
      if (await confirmed(words.confirmClose(order.out_trade_no))) return orders.close(order)
      return { order, told: 'asked' }
    })
  },

  // No operatorKey here: whatever is in a mini program can be read by anybody who has it. The function knows its
  // operators by `operatorIds`, and answers everybody else 403.
  onRefund() {
    return this.once(async () => {
      const order = orders.kept()
      const sum = cents(this.data.refundAmount)
      if (!sum) return { order, told: 'amount' }
      if (await confirmed(words.confirmRefund(yuan(sum)))) return orders.refund(order, sum)
      return { order, told: 'asked' }
    })
  },

  onQueryRefund() {
    return this.once(() => orders.askRefund(orders.kept()))
  },

  onAnother() {
    orders.forget()
    this.setData({ order: null, isOver: false, isPaid: false, refund: null, refundAmount: '', message: '' })
  },

  // One thing at a time: the second of two taps does nothing.
  async once(work) {
    const { problem } = getApp().globalData
    if (problem) {
      setup.show(problem)
      return
    }
    if (this.isBusy) return
    this.isBusy = true
    this.setData({ isBusy: true, message: '' })
    try {
      this.show(await work())
    } catch (error) {
      this.setData({ message: error.message || error.errMsg })
    } finally {
      this.isBusy = false
      this.setData({ isBusy: false })
    }
  },

  show({ order, told, answer }) {
    const former = order && order.former ? words.former(order.former) : ''
    this.setData({ message: [said(told, answer), former].filter(Boolean).join('\n') })
    // What was refused may be changed and tried again.
    if (!order || orders.isRefused(order)) {
      this.setData({ order: null })
      return
    }
    const { refund } = order
    this.setData({
      description: order.description,
      amount: yuan(order.cents),
      order: { number: order.out_trade_no, amount: yuan(order.cents), state: words.states[order.state] || order.state },
      isOver: orders.isOver(order),
      isPaid: orders.isPaid(order),
      refundAmount: yuan(refund ? refund.cents : order.cents),
      refund: refund && {
        number: refund.out_refund_no,
        amount: yuan(refund.cents),
        state: words.refundStates[refund.state] || refund.state,
        isOpen: refund.state === 'SENT',
      },
    })
  },
})

function said(told, answer) {
  if (told === 'asked') return ''
  if (told === 'refused') return words.refused(answer.status, answer.msg)
  if (told === 'unknown' || told === 'failed') return words[told](answer.msg)
  return words[told]
}

function confirmed(content) {
  return new Promise((resolve) => {
    wx.showModal({ content, success: ({ confirm }) => resolve(confirm), fail: () => resolve(false) })
  })
}
