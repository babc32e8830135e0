export { HandoffError, type HandoffErrorCode } from './handoff-error.ts'
export { formatLaunchUrl, type LaunchUrl, parseLaunchUrl } from './launch-url.ts'
export {
  type Admitted,
  type ArrivedAtDevice,
  admit,
  admitDisplay,
  corsHeaders,
  type DeviceRoute,
  devicePort,
  displayProtocol,
  displayTicketPrefix,
  type LoopbackTerms,
  maxDeviceBodyBytes,
} from './loopback-request.ts'
