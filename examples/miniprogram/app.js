// What you set; README.md says where each stands.
const ENV_ID = 'your-env-id'
const FUNCTION_NAME = 'your-function-name'

const setup = require('./lib/setup')

App({
  globalData: {
    envId: ENV_ID,
    functionName: FUNCTION_NAME,
    problem: '', // why nothing can be called, in the user's language
  },

  onLaunch() {
    this.globalData.problem = setup.problemOf(ENV_ID, FUNCTION_NAME)
    if (this.globalData.problem) {
      setup.show(this.globalData.problem)
      return
    }
    wx.cloud.init({ env: ENV_ID, traceUser: true })
    console.log('Cloud Development initialized, env:', ENV_ID)
  },
})
