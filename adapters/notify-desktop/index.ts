export { type DesktopNotice, type NotifyOutcome, notifyDesktop, type SessionBus } from './notify-desktop.ts'
