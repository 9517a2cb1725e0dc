package kube

import "slices"

// Clean takes away what belongs to the cluster that the object was in, so that another one, or the same one later, can be given
// it. It changes the object.
func (o Object) Clean() {
	delete(o, "status") // what controllers observed; an API server ignores it on create
	o.cleanMetadata()
	switch {
	case o.is("", "Service"):
		o.cleanService()
	case o.is("", "Pod"):
		// The node may be gone, and choosing one is the scheduler's work.
		remove(o, "spec", "nodeName")
	case o.is("", "Namespace"):
		// "kubernetes", which the API server adds by itself.
		remove(o, "spec", "finalizers")
	case o.is("", "PersistentVolumeClaim"):
		o.cleanClaim()
	case o.is("", "PersistentVolume"):
		// The UID is that of a claim that is gone. The name remains: a claim of that name gets the volume back.
		remove(o.spec(), "claimRef", "uid", "resourceVersion")
	case o.is("", "Secret") && text(o, "type") == "kubernetes.io/service-account-token":
		// The token is of an account that had another UID: a Secret without it gets a new one, one with it is deleted.
		delete(o, "data")
		remove(o.metadata(), "annotations", "kubernetes.io/service-account.uid")
	case o.is("batch", "Job"):
		o.cleanJob()
	}
}

// cleanMetadata leaves name, namespace, labels, annotations and the finalizers that are somebody's.
func (o Object) cleanMetadata() {
	meta := o.metadata()
	for _, name := range []string{
		"uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", // the API server sets them; with another UID or version it refuses
		"deletionTimestamp", "deletionGracePeriodSeconds", // it was being deleted, which is not wanted again
		"managedFields",   // who wrote which field of the object that is gone
		"ownerReferences", // they name UIDs that are gone: the garbage collector would delete the object at once
	} {
		delete(meta, name)
	}
	if finalizers, ok := meta["finalizers"].([]any); ok {
		// These two say how a deletion that was under way should end.
		kept := slices.DeleteFunc(finalizers, func(f any) bool { return f == "foregroundDeletion" || f == "orphan" })
		if meta["finalizers"] = kept; len(kept) == 0 {
			delete(meta, "finalizers")
		}
	}
}

// cleanService: addresses are handed out by the cluster, and one that is in use by now is refused. "None" is a wish, and stays.
// Node ports stay too: load balancers outside may know them.
func (o Object) cleanService() {
	if text(o.spec(), "clusterIP") != "None" {
		remove(o, "spec", "clusterIP", "clusterIPs")
	}
	remove(o, "spec", "healthCheckNodePort")
}

// cleanClaim: the volume may be gone or in other hands, and then a claim that names it never binds. Whoever has kept the volume
// sets volumeName again.
func (o Object) cleanClaim() {
	remove(o, "spec", "volumeName")
	remove(o.metadata(), "annotations", "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller", "volume.kubernetes.io/selected-node")
}

// cleanJob: the selector and the labels that it selects by are made of the UID, and a Job that brings its own is refused.
func (o Object) cleanJob() {
	if manual, _ := o.spec()["manualSelector"].(bool); manual {
		return
	}
	byUID := []string{"controller-uid", "batch.kubernetes.io/controller-uid"}
	remove(o, "spec", "selector")
	remove(o.metadata(), "labels", byUID...)
	remove(fields(fields(o.spec(), "template"), "metadata"), "labels", byUID...)
}

// MadeAgain says who makes the object again by itself, so that nobody need apply it; "" when nobody does. Applied all the same
// it would stand beside the one that its controller makes.
func (o Object) MadeAgain() string {
	meta := o.metadata()
	owners, _ := meta["ownerReferences"].([]any)
	for _, owner := range owners {
		ref, _ := owner.(map[string]any)
		if controller, _ := ref["controller"].(bool); controller {
			return text(ref, "kind")
		}
	}
	annotations := fields(meta, "annotations")
	switch {
	case o.Kind() == "Event":
		return "nobody: it is a message of the past"
	case o.is("", "Pod") && annotations["kubernetes.io/config.mirror"] != nil:
		return "kubelet, of a file on its node"
	case o.is("", "Endpoints") && annotations["endpoints.kubernetes.io/last-change-trigger-time"] != nil:
		return "the endpoints controller"
	}
	return ""
}
