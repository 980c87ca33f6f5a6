// Pays inside WeChat. What is bought, for how much and by whom, its own backend knows.

const WORDS = {
  en: {
    pay: 'Pay with WeChat',
    again: 'Try again',
    check: 'Check the payment',
    number: 'Order {number}',
    elsewhere: 'Open this page in WeChat to pay.',
    placing: 'Placing the order…',
    inWechat: 'Pay in the window that WeChat shows.',
    asking: 'Asking WeChat Pay…',
    notPaid: 'Not paid. You can pay this order as long as it is open.',
    later: 'WeChat says that you have paid; WeChat Pay has not confirmed it yet. Check again in a moment.',
    paid: 'Paid: {amount}',
    failed: 'WeChat could not open the payment: {reason}',
    noAnswer: 'No answer: is this device online? Try again, it stays the same order.',
  },
  zh: {
    pay: '微信支付',
    again: '重试',
    check: '查询支付结果',
    number: '订单 {number}',
    elsewhere: '请在微信中打开本页面进行支付。',
    placing: '正在下单…',
    inWechat: '请在微信弹出的窗口中支付。',
    asking: '正在查询支付结果…',
    notPaid: '尚未支付，订单有效期内可继续支付。',
    later: '微信提示已支付，支付结果确认中，请稍后再查。',
    paid: '支付成功：{amount}',
    failed: '无法调起微信支付：{reason}',
    noAnswer: '没有响应，请检查网络后重试，仍是同一笔订单。',
  },
};

const BRIDGE_PATIENCE = 5_000; // milliseconds until WeChat's bridge must be there
const CHECKS = [0, 1_000, 2_000, 3_000, 5_000, 8_000]; // milliseconds between questions after WeChat said "ok"

const language = navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
const article = new URLSearchParams(location.search).get('article') ?? 'tea';
const $ = (id) => document.getElementById(id);

function t(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Cents as yuan; integers all the way. */
function yuan(cents) {
  const text = String(cents).padStart(3, '0');
  return `¥ ${text.slice(0, -2)}.${text.slice(-2)}`;
}

/** ready, busy, open, unsure, paid or elsewhere: what can be seen and pressed follows from it. */
function show(phase, words = '') {
  document.body.dataset.phase = phase;
  $('status').textContent = words;
  $('pay').hidden = phase !== 'ready' && phase !== 'open';
  $('pay').textContent = t(phase === 'open' ? 'again' : 'pay');
  $('check').hidden = phase !== 'unsure';
}

async function backend(method) {
  let answer;
  let order;
  try {
    answer = await fetch(`order?${new URLSearchParams({ article })}`, { method, cache: 'no-store' });
    order = await answer.json();
  } catch {
    throw new Error(t('noAnswer'));
  }
  if (!answer.ok) {
    throw new Error(order.error);
  }
  $('what').textContent = document.title = order.description;
  $('amount').textContent = yuan(order.total);
  $('number').textContent = t('number', { number: order.number });
  return order;
}

function isPaid(order) {
  if (order.state === 'PAID') {
    show('paid', t('paid', { amount: yuan(order.total) }));
  }
  return order.state === 'PAID';
}

async function pay() {
  show('busy', t('placing'));
  const order = await backend('POST');
  if (isPaid(order)) {
    return;
  }
  show('busy', t('inWechat'));
  const result = await inWechat(order.pay);
  // What WeChat says here is a hint: only WeChat Pay's own answer counts.
  if (result === 'ok') {
    await check(CHECKS);
  } else if (!isPaid(await backend('GET'))) {
    show('open', result === 'cancel' ? t('notPaid') : t('failed', { reason: result }));
  }
}

/** Ask until it is paid, but not for ever: a callback or the next question will tell. */
async function check(pauses) {
  show('busy', t('asking'));
  for (const milliseconds of pauses) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    try {
      if (isPaid(await backend('GET'))) {
        return;
      }
    } catch {
      // asked again, now or by the button
    }
  }
  show('unsure', t('later'));
}

/** `ok`, `cancel`, or what else WeChat says [4012791857]. */
async function inWechat({ appId, timeStamp, nonceStr, package: prepaid, signType, paySign }) {
  const bridge = await bridgeReady;
  const parameters = { appId, timeStamp, nonceStr, package: prepaid, signType, paySign };
  const answer = await new Promise((resolve) => bridge.invoke('getBrandWCPayRequest', parameters, resolve));
  return answer.err_msg.replace('get_brand_wcpay_request:', '');
}

const bridgeReady = new Promise((resolve, reject) => {
  if (window.WeixinJSBridge) {
    resolve(window.WeixinJSBridge);
  }
  document.addEventListener('WeixinJSBridgeReady', () => resolve(window.WeixinJSBridge));
  setTimeout(reject, BRIDGE_PATIENCE, new Error(t('elsewhere')));
});

function onPress(id, action) {
  $(id).addEventListener('click', () => action().catch((error) => show('open', error.message)));
}

async function start() {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  $('check').textContent = t('check');
  if (!/MicroMessenger/i.test(navigator.userAgent)) {
    show('elsewhere', t('elsewhere'));
    return;
  }
  if (!isPaid(await backend('GET'))) {
    await bridgeReady;
    show('ready');
  }
}

onPress('pay', pay);
onPress('check', () => check(CHECKS.slice(0, 2)));
bridgeReady.catch(() => {}); // told by whoever waits for it
start().catch((error) => show(error.message === t('elsewhere') ? 'elsewhere' : 'open', error.message));
