// What the pages say, in the reader's language. The function's own messages follow the browser's language too.

const WORDS = {
  en: {
    title: 'Scan to pay',
    pay: 'Show the QR code',
    renew: 'New QR code',
    again: 'Try again',
    number: 'Order {number}',
    code: 'QR code: scan it with the camera of WeChat',
    placing: 'Placing the order…',
    waiting: 'Scan the code with WeChat.',
    paying: 'The order is being paid…',
    left: 'This code is good for {left} more.',
    closing: 'Closing the order…',
    closed: 'Not paid in time: the order is closed. Nothing was charged.',
    over: 'The order is closed. Nothing was charged.',
    gone: 'This order is not known here.',
    paid: 'Paid: {amount}',
    refunded: 'Paid, and refunded since: {amount}',
    noAnswer: 'No answer: is this device online?',
    waitingForAnswer: 'No answer. This goes on by itself once the connection is back.',
    unknown: 'It is not known yet whether the order was placed. Try again: it stays the same order.',
    gateway: 'The gateway refused: {message}',
    noSdk: 'lib/cloudbase.js is missing: run npm ci and npm run sign-in.',
    signIn: 'Sign in',
    signInFirst: 'Sign in to pay.',
    email: 'Email',
    password: 'Password',
  },
  zh: {
    title: '扫码支付',
    pay: '显示二维码',
    renew: '更换二维码',
    again: '重试',
    number: '订单 {number}',
    code: '二维码：请用微信扫一扫',
    placing: '正在下单…',
    waiting: '请使用微信扫码支付。',
    paying: '用户支付中…',
    left: '二维码剩余有效时间 {left}。',
    closing: '正在关闭订单…',
    closed: '超时未支付，订单已关闭，未扣款。',
    over: '订单已关闭，未扣款。',
    gone: '查不到这笔订单。',
    paid: '支付成功：{amount}',
    refunded: '已支付，之后有退款：{amount}',
    noAnswer: '没有响应，请检查网络。',
    waitingForAnswer: '没有响应，网络恢复后会自动继续。',
    unknown: '下单结果未知，请重试，仍是同一笔订单。',
    gateway: '网关拒绝了请求：{message}',
    noSdk: '缺少 lib/cloudbase.js：请先执行 npm ci 和 npm run sign-in。',
    signIn: '登录',
    signInFirst: '请先登录再支付。',
    email: '邮箱',
    password: '密码',
  },
};

const language = navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';

/** A function from a key, and values for its `{names}`, to words out of `table[language]`. */
export function speaker(table) {
  return (key, values = {}) => table[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const t = speaker(WORDS);

/** Fill in everything that has a `data-words`. */
export function translate(words = t) {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  document.title = words('title');
  for (const element of document.querySelectorAll('[data-words]')) {
    element.textContent = words(element.dataset.words);
  }
}

/** Cents as yuan; integers all the way. */
export function yuan(cents) {
  const text = String(cents).padStart(3, '0');
  return `¥ ${text.slice(0, -2)}.${text.slice(-2)}`;
}
