// Pays on Android with the answer of `wxpay_order_app`, through WeChat's OpenSDK.
//
// Before: api.registerApp(appId) at start, with the AppID of the answer. WeChat answers to the activity
// <package>.wxapi.WXPayEntryActivity, which hands the response to `onResponse`.

import com.tencent.mm.opensdk.constants.ConstantsAPI
import com.tencent.mm.opensdk.modelbase.BaseResp
import com.tencent.mm.opensdk.modelpay.PayReq
import com.tencent.mm.opensdk.openapi.IWXAPI
import org.json.JSONObject

/** `order` is `data.data` of the answer. */
fun payRequest(order: JSONObject): PayReq = PayReq().apply {
    appId = order.getString("appId")
    partnerId = order.getString("partnerId")
    prepayId = order.getString("prepayId")
    packageValue = order.getString("packageValue")
    nonceStr = order.getString("nonceStr")
    timeStamp = order.getString("timeStamp")
    sign = order.getString("sign")
}

/**
 * [ask] is called when WeChat has brought the user back: ask `wxpay_query_order_by_out_trade_no` how it went. [notPaid]
 * is called when WeChat could not begin, or says that the user left; the order stays payable.
 */
class WeChatPayment(
    private val api: IWXAPI,
    private val ask: () -> Unit,
    private val notPaid: (code: Int, words: String) -> Unit,
) {
    fun pay(order: JSONObject) {
        if (!api.sendReq(payRequest(order))) {
            notPaid(-1, "WeChat is not installed, or the app is not registered")
        }
    }

    /** WeChat's word is a hint, 0 too: a payment counts once WeChat Pay says SUCCESS to a query. */
    fun onResponse(response: BaseResp) {
        if (response.type != ConstantsAPI.COMMAND_PAY_BY_WX) return
        when (response.errCode) {
            0 -> ask()
            -2 -> notPaid(-2, "cancelled")
            else -> notPaid(response.errCode, response.errStr.orEmpty())
        }
    }
}
