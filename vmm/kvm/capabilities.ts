// The KVM capabilities that are checked (<linux/kvm.h>; Linux, Documentation/virt/kvm/api.rst).

export const KVM_CAP_TSC_CONTROL = 60;
export const KVM_CAP_MAX_VCPUS = 66;
export const KVM_CAP_XSAVE2 = 208;
