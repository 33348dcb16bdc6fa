"""Who may reach whom: the policy file becomes packet filters and visibility (headscale: hscontrol/policy/v2).

Room: core. No sockets, clocks, files, randomness or logs come in.

    policy = parse_policy(text)                  # PolicyError: `policy line 12: ...`
    failures = run_tests(policy, nodes)          # refuse the policy when there are any
    compiled = compile_policy(policy, nodes)
    compiled.filters_for(node_id)                # what the node is sent
    compiled.visible_to(node_id)                 # whom it is shown
    touched = compiled.put(node)                 # a node joined or changed: who must be told
"""

from ginnel.core.control.policy.compile import Compiled, Touched, compile_policy
from ginnel.core.control.policy.model import (
    DENY_ALL,
    NO_POLICY,
    Policy,
    PolicyError,
    PolicyNode,
    user_name,
)
from ginnel.core.control.policy.nodeattrs import node_attributes
from ginnel.core.control.policy.parse import parse_policy
from ginnel.core.control.policy.tags import TagRefused, check_tags
from ginnel.core.control.policy.tests import Failure, run_tests

__all__ = [
    "DENY_ALL",
    "NO_POLICY",
    "Compiled",
    "Failure",
    "Policy",
    "PolicyError",
    "PolicyNode",
    "TagRefused",
    "Touched",
    "check_tags",
    "compile_policy",
    "node_attributes",
    "parse_policy",
    "run_tests",
    "user_name",
]
