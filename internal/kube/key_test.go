package kube

import "testing"

func TestParseKey(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/shop/web-1":                                      "pods/shop/web-1",
		"/registry/namespaces/shop":                                      "namespaces/shop",
		"/registry/minions/cp-1":                                         "nodes/cp-1",
		"/registry/services/specs/shop/web":                              "services/shop/web",
		"/registry/services/endpoints/shop/web":                          "endpoints/shop/web",
		"/registry/clusterroles/system:node":                             "clusterroles/system:node",
		"/registry/example.com/widgets/shop/blue":                        "widgets.example.com/shop/blue",
		"/registry/example.com/planets/mars":                             "planets.example.com/mars",
		"/registry/apiextensions.k8s.io/customresourcedefinitions/w.e.c": "customresourcedefinitions.apiextensions.k8s.io/w.e.c",
		"/registry/apiregistration.k8s.io/apiservices/v1.":               "apiservices.apiregistration.k8s.io/v1.",
		"/registry/secrets/größe/x":                                      "secrets/größe/x",
		"/registry/ranges/serviceips":                                    "",
		"/registry/masterleases/10.0.0.1":                                "",
		"/registry/pods/a/b/c":                                           "",
		"/registry/pods/shop/":                                           "",
		"/registry/pods//web":                                            "",
		"/registry/pods/":                                                "",
		"/registry/pods":                                                 "",
		"/registry//pods/x":                                              "",
		"/registry/services/other/a/b":                                   "",
		"/registry/example.com":                                          "",
		"/registry/":                                                     "",
		"/other/pods/shop/web":                                           "",
		"compact_rev_key":                                                "",
		"":                                                               "",
	} {
		ref, ok := ParseKey([]byte(key))
		if got := ref.String(); ok != (want != "") || ok && got != want {
			t.Errorf("ParseKey(%q) = %q, %t, want %q", key, got, ok, want)
		}
	}
}

func TestIn(t *testing.T) {
	for key, want := range map[string]bool{
		"/registry/namespaces/shop":              true,
		"/registry/pods/shop/web":                true,
		"/registry/services/specs/shop/web":      true,
		"/registry/example.com/widgets/shop/one": true,
		"/registry/pods/shop-2/web":              false,
		"/registry/pods/other/shop":              false,
		"/registry/clusterroles/shop":            false,
		"/registry/example.com/planets/shop":     false,
		"/registry/namespaces/other":             false,
	} {
		ref, ok := ParseKey([]byte(key))
		if got := ref.In("shop"); !ok || got != want {
			t.Errorf("%s: in the namespace %t, want %t", key, got, want)
		}
	}
}
