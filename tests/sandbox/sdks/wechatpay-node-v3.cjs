'use strict';
// A shop on wechatpay-node-v3, as its README has it; the shop's settings come in SHOP, as JSON.
const WxPay = require('wechatpay-node-v3');

const serve = require('./shop.cjs');

const shop = JSON.parse(process.env.SHOP);
// Where a merchant has a public key of WeChat Pay's: the SDK has no setting for it, but what it keeps the platform
// certificates in is open to classes that extend it.
class Pay extends WxPay {
  static trust(serial, publicKey) {
    WxPay.certificates[serial] = publicKey;
  }
}
const pay = new Pay({
  appid: shop.appid,
  mchid: shop.mchid,
  publicKey: Buffer.from(shop.certificate),
  privateKey: Buffer.from(shop.privateKey),
  key: shop.apiV3Key,
});

serve(
  {
    order: (order) => pay.transactions_jsapi(order),
    query: (number) => pay.query({ out_trade_no: number }),
    close: (number) => pay.close(number),
    refund: (refund) => pay.refunds(refund),
    queryRefund: (number) => pay.find_refunds(number),
    certificates: () => pay.get_certificates(shop.apiV3Key),
    trust: (serial, publicKey) => Pay.trust(serial, publicKey),
    forget: () => Object.keys(WxPay.certificates).forEach((serial) => delete WxPay.certificates[serial]),
    // Apart from each other, as notifications hold two things that can be forged.
    verify: (headers, body) => pay.verifySign({
      timestamp: headers['wechatpay-timestamp'],
      nonce: headers['wechatpay-nonce'],
      body,
      serial: headers['wechatpay-serial'],
      signature: headers['wechatpay-signature'],
    }),
    decrypt: (resource) => pay.decipher_gcm(resource.ciphertext, resource.associated_data, resource.nonce),
  },
  async (headers, body) => {
    const genuine = await pay.verifySign({
      timestamp: headers['wechatpay-timestamp'],
      nonce: headers['wechatpay-nonce'],
      body,
      serial: headers['wechatpay-serial'],
      signature: headers['wechatpay-signature'],
      apiSecret: shop.apiV3Key,
    });
    if (!genuine) throw new Error('not signed by WeChat Pay');
    const { resource } = JSON.parse(body);
    return pay.decipher_gcm(resource.ciphertext, resource.associated_data, resource.nonce, shop.apiV3Key);
  },
);
