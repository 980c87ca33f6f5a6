// Pays on iOS with the answer of `wxpay_order_app`, through WeChat's OpenSDK.
//
// Before: WXApi.registerApp(appId, universalLink:) at start, with the AppID of the answer; PayReq has no field for it here.

import Foundation
import WechatOpenSDK

/// `data.data` of the answer.
struct AppOrder: Decodable {
    let appId: String
    let partnerId: String
    let prepayId: String
    let packageValue: String
    let nonceStr: String
    let timeStamp: String
    let sign: String
}

func payRequest(_ order: AppOrder) -> PayReq? {
    guard let seconds = UInt32(order.timeStamp) else { return nil }
    let request = PayReq()
    request.partnerId = order.partnerId
    request.prepayId = order.prepayId
    request.package = order.packageValue
    request.nonceStr = order.nonceStr
    request.timeStamp = seconds
    request.sign = order.sign
    return request
}

final class WeChatPayment: NSObject, WXApiDelegate {
    /// Called when WeChat has brought the user back: ask `wxpay_query_order_by_out_trade_no` how it went.
    let ask: () -> Void
    /// WeChat could not begin, or says that the user left; the order stays payable.
    let notPaid: (_ code: Int32, _ words: String) -> Void

    init(ask: @escaping () -> Void, notPaid: @escaping (Int32, String) -> Void) {
        self.ask = ask
        self.notPaid = notPaid
    }

    func pay(_ order: AppOrder) {
        guard let request = payRequest(order) else {
            return notPaid(-1, "timeStamp is no number of seconds")
        }
        WXApi.send(request) { [notPaid] isSent in
            if !isSent { notPaid(-1, "WeChat is not installed, or the app is not registered") }
        }
    }

    /// WeChat's word is a hint, 0 too: a payment counts once WeChat Pay says SUCCESS to a query.
    func onResp(_ response: BaseResp) {
        guard let response = response as? PayResp else { return }
        switch response.errCode {
        case 0: ask()
        case -2: notPaid(-2, "cancelled")
        default: notPaid(response.errCode, response.errStr)
        }
    }
}
