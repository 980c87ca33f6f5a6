'use strict';
// A shop on wechatpay-axios-plugin, as its README has it; the shop's settings come in SHOP, as JSON.
const { Wechatpay, Formatter, Rsa, Aes: { AesGcm } } = require('wechatpay-axios-plugin');

const serve = require('./shop.cjs');

const shop = JSON.parse(process.env.SHOP);
const certs = Object.fromEntries(
  Object.entries(shop.certs).map(([serial, pem]) => [serial, Rsa.from(pem, Rsa.KEY_TYPE_PUBLIC)]),
);
const wxpay = new Wechatpay({
  mchid: shop.mchid,
  serial: shop.serial,
  privateKey: shop.privateKey,
  certs,
});
const seen = ({ status, data }) => ({ status, data });

serve(
  {
    order: (order) => wxpay.v3.pay.transactions.native.post(order).then(seen),
    query: (number) => wxpay.v3.pay.transactions.outTradeNo.$out_trade_no$
      .get({ params: { mchid: shop.mchid }, out_trade_no: number }).then(seen),
    close: (number) => wxpay.v3.pay.transactions.outTradeNo.$out_trade_no$.close
      .post({ mchid: shop.mchid }, { out_trade_no: number }).then(seen),
    refund: (refund) => wxpay.v3.refund.domestic.refunds.post(refund).then(seen),
    queryRefund: (number) => wxpay.v3.refund.domestic.refunds.$out_refund_no$
      .get({ out_refund_no: number }).then(seen),
  },
  (headers, body) => {
    // The SDK has the parts, and leaves it to the shop to put them together: the clock, the key, the signature.
    const serial = headers['wechatpay-serial'];
    const timestamp = headers['wechatpay-timestamp'];
    if (!(Math.abs(Formatter.timestamp() - timestamp) < 300)) throw new Error('too old, or from the future');
    if (!Object.hasOwn(certs, serial)) throw new Error('signed with an unknown key');
    const message = Formatter.response(timestamp, headers['wechatpay-nonce'], body);
    if (!Rsa.verify(message, headers['wechatpay-signature'], certs[serial])) throw new Error('not signed by WeChat Pay');
    const { resource } = JSON.parse(body);
    return JSON.parse(AesGcm.decrypt(resource.ciphertext, shop.apiV3Key, resource.nonce, resource.associated_data));
  },
);
