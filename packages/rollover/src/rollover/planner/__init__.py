"""The brain, pure: fleet, goal and instant in; plan, proof and explanation out.

Entry points: `rollover.planner.planner.plan` and `rollover.planner.prove.examine_steps`.
"""
