export { HandoffError, type HandoffErrorCode } from './handoff-error.ts'
export { formatLaunchUrl, type LaunchUrl, launchScheme, parseLaunchUrl } from './launch-url.ts'
export {
  type Admitted,
  type ArrivedAtDevice,
  admit,
  corsHeaders,
  type DeviceRoute,
  devicePort,
  type LoopbackTerms,
  maxDeviceBodyBytes,
} from './loopback-request.ts'
